//! A name that clusters share: whose its record sets are, and who holds it, when members go.

use serde_json::json;

use super::*;
use crate::core::governance::rule::RuleKind;
use crate::core::governance::snapshot::Governance;
use crate::core::governance::testkit::{rule, rules};

fn shared(policy: &str) -> ZoneState {
    let spec = json!({ "zone": "example.com", "names": ["www.example.com"], "policy": policy });
    let rules = rules(vec![rule(RuleKind::Sharing, "www", spec)]);
    let mut state = state();
    state.context.governance = Arc::new(Governance::new(Arc::new(rules), [].into()));
    state
}

fn owners(writes: &[RecordWrite]) -> Vec<String> {
    let owner = |write: &RecordWrite| match write {
        RecordWrite::Put(row) => row.owner.as_ref().map(|owner| owner.cluster.to_string()),
        RecordWrite::Remove(_) => None,
    };
    writes.iter().filter_map(owner).collect()
}

#[test]
fn a_sum_that_stands_is_the_next_member_s_without_a_call_when_the_first_one_goes() {
    let mut state = shared("merge");
    wants(&mut state, "east", 1, "192.0.2.1");
    let both = wants(&mut state, "west", 2, "192.0.2.1");
    assert!(both.work.is_some());
    send(&mut state);
    let review = leaves(&mut state, "east", 1);
    assert_eq!((owners(&review.adopted), review.work), (vec!["west".to_owned()], None));
    assert!(state.has_lone_claims(), "who holds the name is made durable, too");
    assert!(state.review(&name("www.example.com"), NOW, "", None).adopted.is_empty());
}

#[test]
fn each_share_is_its_cluster_s_and_the_claim_passes_on_with_the_first_one_s() {
    let mut state = shared("multivalue");
    wants(&mut state, "east", 1, "192.0.2.1");
    wants(&mut state, "west", 2, "192.0.2.2");
    let sent = send(&mut state);
    assert_eq!(owners(&sent[0].0), ["east", "west"]);
    leaves(&mut state, "east", 1);
    let sent = send(&mut state);
    let [(writes, claims)] = &sent[..] else { panic!("{sent:?}") };
    assert!(matches!(writes[..], [RecordWrite::Remove(_)]), "{writes:?}");
    assert!(
        matches!(&claims[..], [ClaimWrite::Hold(row)] if row.cluster == cluster("west")),
        "{claims:?}"
    );
}

#[test]
fn what_stays_after_the_last_member_has_no_work_and_keeps_its_claim() {
    let mut state = shared("merge");
    wants(&mut state, "east", 1, "192.0.2.1");
    send(&mut state);
    let review = leaves(&mut state, "east", 1);
    assert!(review.work.is_none() && state.units(&name("www.example.com"), NOW).is_empty());
    let claim = state.names[&name("www.example.com")].claim.as_ref();
    assert_eq!(claim.map(|claim| claim.cluster.clone()), Some(cluster("east")));
    // The next one to come has the name, and what is there becomes what it wants.
    wants(&mut state, "west", 2, "192.0.2.2");
    let sent = send(&mut state);
    assert_eq!(owners(&sent[0].0), ["west"]);
}
