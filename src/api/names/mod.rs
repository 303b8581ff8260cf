//! The one question that is always answered: why is this name what it is?
//!
//! The answer joins what the workers know of the name in each of their zones, what clusters want that found no zone, the
//! journal, and, if no endpoint asks for the name yet, where it would go.

mod past;
pub mod reroute;
mod summary;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::changes::{Change, Difference};
use super::endpoints::Endpoint;
use super::page::MissingPart;
use super::peers::{Asker, Onward, Peers, Worked};
use super::problem::{ApiError, Problem};
use super::records::Record;
use super::request::{Params, identifier};
use super::rules::RuleReference;
use super::sight::Sight;
use super::values::{RecordSet, Time, ZoneReference, visibilities};
use crate::broker::directory::Directory;
use crate::broker::directory::entry::EndpointEntry;
use crate::broker::worker::WhyReport;
use crate::core::dns::name::DnsName;
use crate::core::governance::rule::sharing::SharingPolicy;
use crate::core::governance::snapshot::Governance;
use crate::core::ids::{ClusterId, EnvironmentId};
use crate::core::planning::routing::RouteRequest;
use crate::core::visibility::{Exposure, Visibility};
use crate::ports::{ChangeFilter, ReplicaRow};

/// How many changes of the name are shown.
const LAST_CHANGES: u32 = 20;
/// Why there is no zone, for who sees some environments alone.
const NONE_IS_SEEN: &str = "no zone of the environment takes the name";

/// Everything that is known of a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Name {
    /// The name, in its one form.
    #[schema(value_type = String, example = "www.dev.example.com")]
    pub name: DnsName,
    /// The moment of which this is; left out for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// The number of the set of rules that counted at that moment; left out for now, and if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<u64>,
    /// All of the following in a few sentences.
    #[schema(
        example = "www.dev.example.com is held by dev-east in the zone dev.example.com (public Z0EXAMPLE, account 111111111111) \
        since 2026-07-30T09:15:00.250Z. ingress/shop/web asks for A 192.0.2.1, and that is what Route 53 holds."
    )]
    pub summary: String,
    /// The state of the name in each zone; one zone as a rule, two where a public and a private one share a name.
    pub zones: Vec<NameInZone>,
    /// Endpoints that want the name and are in no zone: their verdict says why.
    pub unplaced: Vec<Endpoint>,
    /// Where an endpoint of each environment would go.
    pub routes: Vec<Route>,
    /// The last changes, newest first.
    pub changes: Vec<Change>,
    /// Replicas that do not say what they know of the name; left out when all do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingPart>,
}

/// A name in one zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NameInZone {
    /// The zone.
    pub zone: ZoneReference,
    /// Why nothing is called in the zone now.
    pub trouble: Option<String>,
    /// The team that the name belongs to by the rules; null if no rule says so.
    #[serde(default)]
    pub owner: Option<Owner>,
    /// How clusters share the name; null if one cluster has it.
    #[serde(default)]
    pub sharing: Option<SharedBy>,
    /// The cluster that owns the name; null if none does. Of those that share it, the one that has the say where two do not go together.
    pub holder: Option<Holder>,
    /// The endpoints of all clusters, in the order in which they came: the first one owns the name.
    pub contributions: Vec<NameContribution>,
    /// The desired record sets: the sum of the owner's endpoints, or of those of all that share the name.
    pub desired: Vec<RecordSet>,
    /// The record sets that Route 53 holds.
    pub observed: Vec<Record>,
    /// The changes to be sent.
    pub pending: Vec<Difference>,
    /// The record sets that are wanted and not sent, and why.
    pub blocked: Vec<String>,
    /// The record sets that Route 53 refused.
    pub refused: Vec<Refusal>,
}

/// Whose name it is by the rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Owner {
    /// The team; null if the name belongs to the platform, since no team of a rule is there.
    #[schema(example = "pay")]
    pub team: Option<String>,
    /// The rule that says so.
    pub rule: Option<RuleReference>,
    /// The names of the rule that this one is among.
    #[schema(example = "*.pay.example.com")]
    pub pattern: Option<String>,
    /// How the name is claimed: `open` (the first cluster has it), `report`, or `granted` (a grant is needed).
    #[schema(example = "granted")]
    pub claims: String,
}

/// How clusters share a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SharedBy {
    /// The policy: `merge`, `multivalue`, `weighted`, `latency` or `failover`.
    #[schema(example = "weighted")]
    pub policy: String,
    /// The rule that says so.
    pub rule: RuleReference,
}

/// The holder of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Holder {
    /// Which cluster.
    #[schema(value_type = String, example = "dev-east")]
    pub cluster: ClusterId,
    /// Since when.
    pub since: Option<Time>,
}

/// One endpoint at the name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NameContribution {
    /// Rises with every endpoint that came new: the smaller one was first.
    pub arrival: i64,
    /// The endpoint, with its verdict.
    pub endpoint: Endpoint,
}

/// A change that Route 53 refused for its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// Route 53's words.
    pub message: String,
    /// It is tried again unchanged after this time, and at once when its content changes.
    pub retry_at: Time,
}

/// Where an endpoint of an environment would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// The environment of the cluster.
    #[schema(value_type = String, example = "dev")]
    pub environment: EnvironmentId,
    /// Public or private.
    #[schema(schema_with = visibilities)]
    pub visibility: String,
    /// The zone; null for none.
    pub zone: Option<ZoneReference>,
    /// Why there is none, and which ones are near.
    pub message: Option<String>,
}

/// Which moment.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NameMoment {
    /// The name as it was then: our record sets, the holder, the owner by the rules of that moment. What clusters asked for and what
    /// others wrote is not kept.
    #[param(value_type = Option<String>, example = "2026-07-30T09:15:00Z")]
    pub at: Option<Time>,
}

/// Why a name is what it is.
///
/// Answers for every name, also for one that no endpoint asks for: then `routes` says which zone would hold it, or which are near.
#[utoipa::path(get, path = "/api/v1/names/{fqdn}", operation_id = "why_name", tag = "names",
    params(("fqdn" = String, Path, description = "The name, in any spelling.", example = "www.dev.example.com"), NameMoment),
    responses(
        (status = 200, description = "Everything that is known of the name.", body = Name),
        (status = 400, description = "That is no DNS name.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(state): State<ApiState>,
    sight: Sight,
    asker: Asker,
    onward: Onward,
    Path(fqdn): Path<String>,
    Params(NameMoment { at }): Params<NameMoment>,
) -> Result<Json<Name>, ApiError> {
    let name: DnsName = identifier(&fqdn)?;
    if let Some(at) = at {
        return Ok(Json(past::get(&state, &sight, name, at).await?));
    }
    let rules = Arc::clone(&state.broker.rules.borrow().governance);
    let mut zones: Vec<NameInZone> = state
        .broker
        .why(&name)
        .await
        .into_iter()
        .map(|known| in_zone(known, &name, &rules))
        .collect();
    let mut missing = vec![];
    if asker == Asker::Anybody {
        let (others, between) = who_else(&state.peers, &state.broker.directory, &name);
        let (known, silent) = state.peers.ask_each::<Name>(&others, &onward).await;
        zones.extend(known.into_iter().flat_map(|known| known.zones));
        missing.extend(between.into_iter().chain(silent));
        zones.sort_by(|a, b| (&a.zone.account, &a.zone.id).cmp(&(&b.zone.account, &b.zone.id)));
        zones.dedup_by(|a, b| a.zone.id == b.zone.id);
    }
    zones.retain(|zone| sight.of(&zone.zone.environment));
    let unplaced = state.broker.directory.unplaced(&name.to_string());
    let mut unplaced: Vec<Endpoint> = unplaced.iter().map(Endpoint::new).collect();
    unplaced.retain(|endpoint| sight.of_cluster(&state, &endpoint.cluster));
    let filter =
        ChangeFilter { name: Some(name.clone()), limit: LAST_CHANGES, ..ChangeFilter::default() };
    let changes = state.broker.changes(&filter).await?.into_iter().map(Change::from);
    let changes = changes.filter(|change| sight.of_account(&state, &change.account)).collect();
    let mut routes = routes(&state.broker.directory, &name);
    routes.retain(|route| sight.of(&route.environment));
    if !sight.is_whole() {
        // The reason names zones of other environments that are near.
        let reasons = routes.iter_mut().filter_map(|route| route.message.as_mut());
        reasons.for_each(|reason| NONE_IS_SEEN.clone_into(reason));
    }
    let mut answer = Name {
        name,
        at: None,
        rules: None,
        summary: String::new(),
        zones,
        unplaced,
        routes,
        changes,
        missing,
    };
    answer.summary = summary::of(&answer);
    Ok(Json(answer))
}

/// The other replicas that manage a zone in which the name could be, and what none of them knows at this moment.
fn who_else(
    peers: &Peers,
    directory: &Directory,
    name: &DnsName,
) -> (Vec<ReplicaRow>, Option<MissingPart>) {
    let zones = directory.zones();
    let accounts: BTreeSet<_> =
        zones.iter().filter(|zone| name.is_in(&zone.name)).map(|zone| &zone.account).collect();
    let mut others: Vec<ReplicaRow> = vec![];
    let mut between = vec![];
    for account in accounts {
        match peers.worked(account) {
            Worked::At(peer) if !others.contains(&peer) => others.push(peer),
            Worked::Nowhere if peers.is_configured(account) => between.push(account.clone()),
            Worked::At(_) | Worked::Here | Worked::Nowhere => {}
        }
    }
    let missing = (!between.is_empty()).then(|| MissingPart {
        replica: None,
        accounts: between,
        detail:
            "no replica manages these accounts at this moment: one will within seconds, ask again"
                .to_owned(),
    });
    (others, missing)
}

fn owner(rules: &Governance, zone: &DnsName, name: &DnsName) -> Option<Owner> {
    let found = rules.rules().owner(zone, name);
    let rule = found.rule?;
    Some(Owner {
        team: found.team.map(|(team, _)| team.to_string()),
        rule: Some(RuleReference {
            kind: rule.spec.kind().to_string(),
            name: rule.name.to_string(),
        }),
        pattern: found.pattern.map(ToString::to_string),
        claims: found.claims.as_str().to_owned(),
    })
}

fn shared_by(rules: &Governance, zone: &DnsName, name: &DnsName) -> Option<SharedBy> {
    let (rule, sharing) = rules.rules().sharing(zone, name)?;
    let reference =
        RuleReference { kind: rule.spec.kind().to_string(), name: rule.name.to_string() };
    let is_shared = sharing.policy != SharingPolicy::Exclusive;
    is_shared.then(|| SharedBy { policy: sharing.policy.as_str().to_owned(), rule: reference })
}

fn in_zone(
    WhyReport { zone, report }: WhyReport,
    name: &DnsName,
    rules: &Governance,
) -> NameInZone {
    let mut contributions: Vec<&EndpointEntry> = report.contributions.iter().collect();
    contributions.sort_by_key(|held| held.arrival());
    let show = |held: &EndpointEntry| NameContribution {
        arrival: held.arrival(),
        endpoint: Endpoint::new(held),
    };
    let observed = report
        .observed
        .iter()
        .filter_map(|observed| Some(Record::new(&observed.raw.observed_key().ok()?, observed)));
    NameInZone {
        zone: ZoneReference::from(&zone),
        trouble: zone.trouble.clone(),
        owner: owner(rules, &zone.name, name),
        sharing: shared_by(rules, &zone.name, name),
        holder: report.holder.map(|cluster| Holder { cluster, since: report.held_since.map(Time) }),
        contributions: contributions.into_iter().map(show).collect(),
        desired: report.desired.iter().map(RecordSet::from).collect(),
        observed: observed.collect(),
        pending: report
            .pending
            .iter()
            .flat_map(|unit| &unit.changes)
            .map(Difference::from)
            .collect(),
        blocked: report.blocked,
        refused: report
            .refused
            .into_iter()
            .map(|(message, retry_at)| Refusal { message, retry_at: Time(retry_at) })
            .collect(),
    }
}

/// Asks routing for every environment that there is, and for both kinds of zone where both are in use.
fn routes(directory: &Directory, name: &DnsName) -> Vec<Route> {
    let (zones, settings) = (directory.zones(), directory.settings());
    let of_zones = zones.iter().map(|facts| (facts.environment.clone(), facts.visibility));
    let of_clusters = settings.values().map(|settings| {
        let kind = match settings.exposure {
            Exposure::Public | Exposure::Both => Visibility::Public,
            Exposure::Private | Exposure::Internal => Visibility::Private,
        };
        (settings.environment.clone(), kind)
    });
    let kinds: BTreeSet<(EnvironmentId, Visibility)> = of_zones.chain(of_clusters).collect();
    let route = |(environment, visibility): (EnvironmentId, Visibility)| {
        let exposure = match visibility {
            Visibility::Public => Exposure::Public,
            Visibility::Private => Exposure::Private,
        };
        let request =
            RouteRequest { environment: &environment, name, at_cut: false, exposure, pinned: None };
        let found = match zones.place(&request, &[]) {
            Ok(route) => {
                let of = |placement: &crate::core::endpoint::verdict::Placement| {
                    (zones.get(&placement.zone).map(ZoneReference::from), None)
                };
                route.at.iter().map(of).collect()
            }
            Err(verdict) => vec![(None, Some(verdict.message))],
        };
        let visibility = visibility.to_string();
        let route = |(zone, message)| Route {
            environment: environment.clone(),
            visibility: visibility.clone(),
            zone,
            message,
        };
        found.into_iter().map(route).collect::<Vec<_>>()
    };
    kinds.into_iter().flat_map(route).collect()
}
