//! Endpoints as clusters write them, from their bytes to the calls that carry them out.

use std::collections::BTreeMap;
use std::sync::Arc;

use zonefold::core::batch::check::check;
use zonefold::core::batch::fold::{FoldLimits, Folder};
use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::RecordKey;
use zonefold::core::endpoint::Endpoint;
use zonefold::core::endpoint::packed::{EndpointView, PackedEndpoint};
use zonefold::core::endpoint::parsed::parse_endpoint;
use zonefold::core::endpoint::verdict::{Placement, VerdictState};
use zonefold::core::ids::{AccountId, BatchId, ClusterId, ZoneId};
use zonefold::core::planning::change::{Batch, BatchStamp};
use zonefold::core::planning::claims::{
    Contribution, NameDecision, NameInput, NoOtherNames, ZoneContext, decide_name,
};
use zonefold::core::planning::plan::{NamePlan, Observed, Ownership, PlanInput, plan};
use zonefold::core::planning::policy::{
    AdoptPolicy, DEFAULT_TTL_SECS, DriftPolicy, ZonePolicy, ZoneSettings,
};
use zonefold::core::planning::record_types::RecordTypes;
use zonefold::core::release::guarded::Guarded;
use zonefold::core::time::Timestamp;
use zonefold::core::visibility::Visibility;
use zonefold::wire::v1;

use super::record_set::check_canonical;

/// So many endpoints of one name are enough to differ in every way.
const MOST: usize = 6;

/// The bytes are endpoints, each behind its length; the first byte says which of them come from another cluster.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = super::split_choice(data) else { return };
    let wire: Vec<v1::Endpoint> = super::delimited(rest, MOST);
    let mut contributions: Vec<Contribution> = Vec::new();
    for (number, wire) in wire.into_iter().enumerate() {
        let Ok(endpoint) = Endpoint::try_from(wire) else { continue };
        check_forms(&endpoint);
        let parsed = match parse_endpoint(&endpoint) {
            Ok(parsed) => Some(Arc::new(parsed)),
            Err(verdict) => {
                assert!(verdict.state == VerdictState::Rejected && !verdict.message.is_empty());
                None
            }
        };
        let cluster = if choice >> number & 1 == 0 { "east" } else { "west" };
        contributions.push(Contribution {
            cluster: ClusterId::parse(cluster).unwrap(),
            arrival: number as i64,
            endpoint: Arc::new(endpoint),
            parsed,
            leaves: false,
        });
    }
    let Some(name) = contributions
        .iter()
        .find_map(|contribution| Some(contribution.parsed.as_ref()?.name.clone()))
    else {
        return;
    };
    contributions.retain(|contribution| {
        contribution.parsed.as_ref().is_none_or(|parsed| parsed.name == name)
    });
    check_plan(&name, &contributions);
}

/// An endpoint is the same, under the same hashes, in every form that it is kept in.
fn check_forms(endpoint: &Endpoint) {
    let back = Endpoint::try_from(v1::Endpoint::from(endpoint)).unwrap();
    assert_eq!(back, *endpoint);
    let packed = PackedEndpoint::pack(endpoint);
    let view = packed.view();
    assert_eq!((view.key_hash(), view.version()), (endpoint.key.hash(), endpoint.version()));
    assert_eq!(packed.unpack(), *endpoint);
    assert_eq!(PackedEndpoint::from_bytes(packed.as_bytes()).unwrap(), packed);
    let (key, content) = packed.parts();
    assert_eq!(EndpointView::read_parts(key, content).unwrap(), view);
}

struct Scene<'a> {
    zone: ZoneContext,
    name: &'a DnsName,
    contributions: &'a [Contribution],
    observed: BTreeMap<RecordKey, Observed>,
}

/// What is planned passes the independent check, and once it is carried out nothing is left to do.
fn check_plan(name: &DnsName, contributions: &[Contribution]) {
    let mut apex = name.clone();
    while let Some(parent) = apex.parent() {
        apex = parent;
    }
    let placement = Placement {
        account: AccountId::parse("111111111111").unwrap(),
        zone: ZoneId::parse("Z1").unwrap(),
    };
    let settings = ZoneSettings { record_types: RecordTypes::All, ..ZoneSettings::default() };
    let zone = ZoneContext::new(placement, apex, Visibility::Public, &settings);
    for contribution in contributions {
        for set in contribution
            .parsed
            .iter()
            .flat_map(|parsed| parsed.record_sets(zone.zone(), DEFAULT_TTL_SECS))
        {
            check_canonical(&set);
        }
    }
    let mut scene = Scene { zone, name, contributions, observed: BTreeMap::new() };
    let planned = scene.plan(&scene.decide(contributions));
    scene.carry_out(&planned);
    let decision = scene.decide(contributions);
    let again = scene.plan(&decision);
    assert!(again.units.is_empty(), "{:?}\nafter\n{:?}", again.units, planned.units);
    let turned: Vec<Contribution> = contributions.iter().rev().cloned().collect();
    let other = scene.decide(&turned);
    assert_eq!(other.holder, decision.holder);
    let sets = |decision: &NameDecision| {
        decision.desired.values().map(|desired| desired.set.clone()).collect::<Vec<_>>()
    };
    assert_eq!(sets(&other), sets(&decision), "the order of arrival in memory does not matter");
}

impl Scene<'_> {
    fn decide(&self, contributions: &[Contribution]) -> NameDecision {
        decide_name(&NameInput {
            zone: &self.zone,
            name: self.name,
            claimed_by: None,
            claimed_since: None,
            contributions,
            observed: &self.observed,
            around: &NoOtherNames,
        })
    }

    fn plan(&self, decision: &NameDecision) -> NamePlan {
        plan(&PlanInput {
            zone: &self.zone,
            policy: ZonePolicy::Sync,
            drift: DriftPolicy::Repair,
            adopt: AdoptPolicy::Never,
            name: self.name,
            decision,
            contributions: self.contributions,
            observed: &self.observed,
            departed: &[],
            target_exists: &|_, _| true,
        })
    }

    fn carry_out(&mut self, plan: &NamePlan) {
        for unit in &plan.units {
            let mut folder = Folder::new(FoldLimits::default(), u32::MAX);
            // A unit that no call can hold stays as it is, with a verdict.
            if folder.try_add(unit).is_err() {
                continue;
            }
            let batch = Batch {
                id: BatchId(Default::default()),
                account: self.zone.placement.account.clone(),
                zone: self.zone.placement.zone.clone(),
                planned_at: Timestamp(0),
                stamp: BatchStamp::default(),
                units: vec![unit.clone()],
                wire: folder.finish(),
            };
            let observed = |key: &RecordKey| self.observed.get(key).cloned();
            let guarded = Guarded::default();
            let adopt = AdoptPolicy::Never;
            let checked = check(&batch, &self.zone, ZonePolicy::Sync, adopt, &guarded, observed);
            assert_eq!(checked, Ok(()), "{unit:?}");
        }
        for change in plan.units.iter().flat_map(|unit| &unit.changes) {
            let owner = Some(Ownership {
                cluster: change.cause.cluster.clone(),
                batch: BatchId(Default::default()),
            });
            match &change.after {
                Some(raw) => {
                    self.observed.insert(
                        change.key.clone(),
                        Observed { raw: raw.clone(), owner, drift: None },
                    );
                }
                None => {
                    self.observed.remove(&change.key);
                }
            }
        }
    }
}
