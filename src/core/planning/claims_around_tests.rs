//! What a name depends on at other names of its zone: loops, and delegations above it.

use super::*;

/// The names of a zone and where they lead, with the arrival of the endpoint that says so.
struct Names(Vec<(&'static str, &'static str, Option<i64>)>);

impl OtherNames for Names {
    fn delegation_above(&self, at: &DnsName) -> Option<Delegation> {
        let cut = name("ext.example.com");
        (*at != cut && at.is_in(&cut)).then(|| Delegation {
            at: cut,
            servers: vec![name("ns1.ext.example.com"), name("ns.example.net")],
        })
    }

    fn answered_by(&self, at: &DnsName) -> DnsName {
        let wildcard = name("*.wild.example.com");
        let is_there = self.0.iter().any(|(from, ..)| name(from) == *at);
        let covers = *at != wildcard && at.is_in(&name("wild.example.com")) && !is_there;
        if covers { wildcard } else { at.clone() }
    }

    fn links(&self, at: &DnsName) -> Vec<Link> {
        let links = self.0.iter().filter(|(from, ..)| name(from) == *at);
        links
            .map(|(_, target, arrival)| Link {
                target: name(target),
                rank: LinkRank { is_new: arrival.is_some(), arrival: *arrival },
            })
            .collect()
    }
}

fn among(names: Names, at: &str, contributions: &[Contribution]) -> NameDecision {
    decide_name(&NameInput {
        zone: &zone_context(),
        name: &name(at),
        claimed_by: None,
        claimed_since: None,
        contributions,
        observed: &BTreeMap::new(),
        around: &names,
    })
}

#[test]
fn of_a_loop_of_names_the_youngest_is_kept_out_and_named_the_loop() {
    let leads = |at: &'static str, target| {
        [contribution("east", 5, endpoint("ring", at, "CNAME", &[target]))]
    };
    let (x, y, z) = ("x.example.com", "y.example.com", "z.example.com");
    let older = || Names(vec![(y, z, Some(1)), (z, x, Some(2))]);
    let decision = among(older(), x, &leads(x, y));
    assert_eq!(verdict(&decision, 0), (VerdictState::Rejected, Reason::InvalidTarget));
    assert!(
        message(&decision, 0)
            .starts_with("x.example.com → y.example.com → z.example.com → x.example.com is a loop"),
        "{}",
        message(&decision, 0)
    );
    assert!(decision.desired.is_empty());
    assert_eq!(decision.looped_with, [name(y), name(z)].into());

    let younger = Names(vec![(y, z, Some(9)), (z, x, Some(2))]);
    let decision = among(younger, x, &leads(x, y));
    assert_eq!((decision.desired.len(), decision.loop_ends), (1, [name(y)].into()));
    // A record that no endpoint wants cannot give way.
    let decision = among(Names(vec![(y, x, None)]), x, &leads(x, y));
    assert_eq!(verdict(&decision, 0).0, VerdictState::Rejected);
    // A wildcard answers for what is not there.
    let covering = Names(vec![("*.wild.example.com", x, Some(1))]);
    let decision = among(covering, x, &leads(x, "a.wild.example.com"));
    assert!(
        message(&decision, 0).starts_with(
            "x.example.com → a.wild.example.com → *.wild.example.com → x.example.com is a loop"
        ),
        "{}",
        message(&decision, 0)
    );
    let covering = Names(vec![("*.wild.example.com", x, Some(1)), ("a.wild.example.com", y, None)]);
    let decision = among(covering, x, &leads(x, "a.wild.example.com"));
    assert_eq!(verdict(&decision, 0).0, VerdictState::Accepted, "that name is there");
    let own = "*.wild.example.com";
    let decision = among(Names(vec![]), own, &leads(own, "b.wild.example.com"));
    assert_eq!(verdict(&decision, 0).0, VerdictState::Rejected, "it answers for its own target");
    // It leads to a loop of others, and is in none.
    let decision = among(Names(vec![(y, z, Some(1)), (z, y, Some(2))]), x, &leads(x, y));
    assert_eq!(verdict(&decision, 0).0, VerdictState::Accepted);
}

#[test]
fn rfc1034_4_2_1_what_lies_below_a_delegation_waits_and_names_it_but_glue_does_not() {
    let at = "app.ext.example.com";
    let below = |at: &str, endpoint| among(Names(vec![]), at, &[contribution("east", 1, endpoint)]);
    let decision = below(at, endpoint("web", at, "A", &["192.0.2.1"]));
    assert_eq!(verdict(&decision, 0), (VerdictState::Waiting, Reason::BelowDelegation));
    assert!(message(&decision, 0).contains("ext.example.com"));
    let glue = "ns1.ext.example.com";
    let decision = below(glue, endpoint("ns", glue, "A", &["192.0.2.53"]));
    assert_eq!(verdict(&decision, 0).0, VerdictState::Accepted);
    let decision = below(glue, endpoint("ns", glue, "TXT", &["hello"]));
    assert_eq!(verdict(&decision, 0).0, VerdictState::Waiting);
}
