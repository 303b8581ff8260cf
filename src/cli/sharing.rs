//! `zonefold weight` and `zonefold failover`: how clusters share a name, changed while it runs.
//!
//! Both change the Sharing rule that fits the name, and only if the rules are still those that were looked at: two people who change
//! one rule do not overwrite each other.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::client::{Client, encode};
use super::output::table;
use super::rules::WriteArgs;
use crate::api::clusters::Cluster;
use crate::api::names::Name;
use crate::api::rules::{RuleChanges, RuleEntry, RulesInfo};
use crate::core::dns::name::DnsName;
use crate::core::endpoint::verdict::VerdictState;
use crate::core::governance::rule::Sharing;
use crate::core::governance::rule::sharing::{FailoverMode, MAX_WEIGHT, SharingPolicy};
use crate::core::ids::ClusterId;

/// The weight of a cluster to which neither the rule nor an endpoint gives one.
const DEFAULT_WEIGHT: u32 = 1;

/// A cluster and its weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterWeight {
    /// Which cluster.
    pub cluster: ClusterId,
    /// 0 to 255; 0 drains it.
    pub weight: u32,
}

impl FromStr for ClusterWeight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (cluster, weight) =
            text.split_once('=').ok_or("write CLUSTER=WEIGHT, such as dev-east=10")?;
        let cluster = ClusterId::parse(cluster).map_err(|error| error.to_string())?;
        let weight = weight.parse().ok().filter(|weight| *weight <= MAX_WEIGHT);
        let weight = weight.ok_or_else(|| {
            format!(
                "give a weight from 0 to {MAX_WEIGHT}; what counts is each one's share of the sum"
            )
        })?;
        Ok(Self { cluster, weight })
    }
}

/// Arguments of `zonefold weight`.
#[derive(Clone, Debug, Args)]
pub struct WeightArgs {
    /// The name that clusters share, in any spelling
    #[arg(env = "ZONEFOLD_NAME", value_name = "NAME")]
    pub name: DnsName,
    /// The weights, such as dev-east=10 dev-west=90; a cluster that is not named keeps its own, and 0 drains
    #[arg(
        env = "ZONEFOLD_WEIGHTS",
        value_name = "CLUSTER=WEIGHT",
        required = true,
        value_delimiter = ','
    )]
    pub weights: Vec<ClusterWeight>,
    #[command(flatten)]
    pub write: WriteArgs,
}

/// Arguments of `zonefold failover`.
#[derive(Clone, Debug, Args)]
pub struct ManualFailoverArgs {
    /// The name that clusters share, in any spelling
    #[arg(env = "ZONEFOLD_NAME", value_name = "NAME")]
    pub name: DnsName,
    /// The cluster that answers from now on
    #[arg(long, env = "ZONEFOLD_TO", value_name = "CLUSTER")]
    pub to: ClusterId,
    #[command(flatten)]
    pub write: WriteArgs,
}

/// A shared name, as it is before it is changed.
struct SharedName {
    /// The number of the set of rules.
    set: u64,
    rule: RuleEntry,
    sharing: Sharing,
    answer: Name,
}

impl SharedName {
    async fn find(client: &Client, name: &DnsName) -> anyhow::Result<Self> {
        // Before the rules: what changes after this is refused by the broker.
        let RulesInfo { number: set, .. } = client.get("/api/v1/rules/set").await?;
        let rules = client.list("/api/v1/rules", &[("kind", "sharings")], usize::MAX).await?.items;
        let answer: Name =
            client.get(&format!("/api/v1/names/{}", encode(&name.to_string()))).await?;
        let zones: BTreeSet<&DnsName> = answer.zones.iter().map(|zone| &zone.zone.name).collect();
        let (rule, sharing) = fitting(rules, name, &zones)?;
        Ok(Self { set, rule, sharing, answer })
    }

    /// The clusters with an endpoint at the name in one of these states.
    fn clusters(&self, states: &[VerdictState]) -> BTreeSet<ClusterId> {
        let endpoints = self.answer.zones.iter().flat_map(|zone| &zone.contributions);
        let such = endpoints.map(|it| &it.endpoint).filter(|endpoint| {
            endpoint.verdict.as_ref().is_some_and(|verdict| states.contains(&verdict.state))
        });
        such.map(|endpoint| endpoint.cluster.clone()).collect()
    }

    /// Refuses a rule that lives in a file.
    fn is_of_store(&self, at: &str, value: &impl Serialize) -> anyhow::Result<()> {
        match &self.rule.file {
            None => Ok(()),
            Some(file) => bail!(
                "{} is shared by the Sharing {}, which lives in the file {file}: change {at} there, to {}",
                self.answer.name,
                self.rule.name,
                serde_json::to_string(value)?
            ),
        }
    }

    /// The names that change with this one.
    fn patterns(&self) -> Vec<String> {
        self.sharing.names.iter().map(ToString::to_string).collect()
    }

    /// Writes the rule with a part of its `spec` changed; answers the number of the set that counts then.
    async fn write(
        &self,
        client: &Client,
        args: &WriteArgs,
        change: impl FnOnce(&mut serde_json::Value),
    ) -> anyhow::Result<u64> {
        let mut document = self.rule.document.clone();
        let spec = document.get_mut("spec").context("the rule has no spec: write it anew")?;
        change(spec);
        let mut query = format!("?preview={}", args.preview);
        if let Some(reason) = &args.reason {
            query += &format!("&reason={}", encode(reason));
        }
        let changes = RuleChanges { put: vec![document], delete: vec![] };
        let set: RulesInfo = client
            .post_json_if(&format!("/api/v1/rules{query}"), &changes, self.set)
            .await
            .context("nothing is changed")?;
        Ok(set.number)
    }
}

/// The rule that says how clusters share a name: by the longest pattern in the zone that holds the name.
fn fitting(
    rules: Vec<RuleEntry>,
    name: &DnsName,
    zones: &BTreeSet<&DnsName>,
) -> anyhow::Result<(RuleEntry, Sharing)> {
    let mut found = vec![];
    for rule in rules {
        let spec = rule.document.get("spec").cloned().unwrap_or_default();
        let sharing = Sharing::deserialize(spec)
            .with_context(|| format!("the Sharing {} cannot be read here", rule.name))?;
        let is_of_zone = match zones.is_empty() {
            true => name.is_in(&sharing.zone),
            false => zones.contains(&sharing.zone),
        };
        let fits = sharing.names.iter().filter(|pattern| pattern.matches(name));
        if let Some(length) = fits.map(|pattern| pattern.length()).max().filter(|_| is_of_zone) {
            found.push((sharing.zone.label_count(), length, rule, sharing));
        }
    }
    // Of a name that nobody asks for yet the closest zone counts.
    let best = found.into_iter().max_by_key(|(labels, length, ..)| (*labels, *length));
    let (.., rule, sharing) = best.with_context(|| {
        format!(
            "no Sharing rule says that clusters share {name}: write one, see \"Several clusters, one name\" in docs/governance.md"
        )
    })?;
    Ok((rule, sharing))
}

/// What a weight makes of a cluster's share.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct WeightedShare {
    cluster: ClusterId,
    /// Whether it publishes the name now; one that does not has no share.
    publishes: bool,
    weight_before: u32,
    weight_after: u32,
    /// Of the answers, in percent.
    percent_before: f64,
    percent_after: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Weighed {
    name: DnsName,
    rule: String,
    names: Vec<String>,
    /// The number of the set of rules that counts.
    set: u64,
    preview: bool,
    shares: Vec<WeightedShare>,
}

/// Runs `zonefold weight`.
///
/// # Errors
/// No rule says that the name is shared by weights, or it lives in a file; a cluster is not known; nobody would have a weight; the
/// broker cannot be reached, or refuses.
pub async fn weight(args: WeightArgs) -> anyhow::Result<ExitCode> {
    let client = args.write.read.client()?;
    let shared = SharedName::find(&client, &args.name).await?;
    let (rule, before) = (&shared.rule.name, &shared.sharing);
    ensure!(
        before.policy == SharingPolicy::Weighted,
        "{} is shared by the Sharing {rule} with the policy {}, which has no weights: set policy: weighted there",
        args.name,
        before.policy.as_str()
    );
    let mut after = before.clone();
    after.weights.extend(args.weights.iter().map(|given| (given.cluster.clone(), given.weight)));
    shared.is_of_store("spec.weights", &after.weights)?;
    let clusters: Vec<Cluster> = client.list("/api/v1/clusters", &[], usize::MAX).await?.items;
    are_known(&args.weights, &clusters)?;
    let publishers = shared.clusters(&[VerdictState::Accepted]);
    let shares = shares(before, &after, &publishers);
    has_weight(&args.name, &shares)?;
    let weights = serde_json::to_value(&after.weights)?;
    let set = shared.write(&client, &args.write, |spec| spec["weights"] = weights).await?;
    let weighed = Weighed {
        name: args.name,
        rule: rule.clone(),
        names: shared.patterns(),
        set,
        preview: args.write.preview,
        shares,
    };
    args.write.read.write(&weighed, weighed_text)?;
    Ok(ExitCode::SUCCESS)
}

fn are_known(given: &[ClusterWeight], clusters: &[Cluster]) -> anyhow::Result<()> {
    let known: BTreeSet<&ClusterId> =
        clusters.iter().filter(|it| it.registered).map(|cluster| &cluster.name).collect();
    let unknown = given.iter().find(|given| !known.contains(&given.cluster));
    let Some(ClusterWeight { cluster, .. }) = unknown else { return Ok(()) };
    let known: Vec<&str> = known.into_iter().map(ClusterId::as_str).collect();
    bail!("{cluster} is no cluster of the broker's configuration: it knows {}", known.join(", "))
}

/// Route 53 answers with all record sets alike if none has a weight.
fn has_weight(name: &DnsName, shares: &[WeightedShare]) -> anyhow::Result<()> {
    let present: Vec<_> = shares.iter().filter(|share| share.publishes).collect();
    let counting = if present.is_empty() { shares.iter().collect() } else { present };
    ensure!(
        counting.iter().any(|share| share.weight_after > 0),
        "no cluster that publishes {name} would have a weight, and Route 53 then answers with all of them alike: give one a weight"
    );
    Ok(())
}

fn shares(
    before: &Sharing,
    after: &Sharing,
    publishers: &BTreeSet<ClusterId>,
) -> Vec<WeightedShare> {
    let clusters: BTreeSet<&ClusterId> =
        before.weights.keys().chain(after.weights.keys()).chain(publishers).collect();
    let weight = |sharing: &Sharing, cluster: &ClusterId| {
        let given = sharing.weights.get(cluster).copied().or(sharing.default_weight);
        given.unwrap_or(DEFAULT_WEIGHT)
    };
    let weights = |sharing: &Sharing| -> BTreeMap<ClusterId, u32> {
        let present = clusters.iter().filter(|cluster| publishers.contains(**cluster));
        present.map(|cluster| ((*cluster).clone(), weight(sharing, cluster))).collect()
    };
    let (percent_before, percent_after) = (percents(&weights(before)), percents(&weights(after)));
    let share = |cluster: &&ClusterId| WeightedShare {
        cluster: (*cluster).clone(),
        publishes: publishers.contains(*cluster),
        weight_before: weight(before, cluster),
        weight_after: weight(after, cluster),
        percent_before: percent_before.get(*cluster).copied().unwrap_or_default(),
        percent_after: percent_after.get(*cluster).copied().unwrap_or_default(),
    };
    clusters.iter().map(share).collect()
}

/// Each one's share of the answers, to a tenth of a percent.
fn percents(weights: &BTreeMap<ClusterId, u32>) -> BTreeMap<ClusterId, f64> {
    let sum: u32 = weights.values().sum();
    let count = u32::try_from(weights.len()).unwrap_or(u32::MAX);
    let tenths = |weight: u32| match sum {
        0 => 1_000.0 / f64::from(count),
        sum => 1_000.0 * f64::from(weight) / f64::from(sum),
    };
    let percent = |weight: u32| tenths(weight).round() / 10.0;
    weights.iter().map(|(cluster, weight)| (cluster.clone(), percent(*weight))).collect()
}

fn weighed_text(weighed: &Weighed, width: u16) -> String {
    let mut rows = table(width, &["cluster", "weight", "share of the answers"]);
    for share in &weighed.shares {
        let of_answers = match share.publishes {
            true => format!("{} % → {} %", share.percent_before, share.percent_after),
            false => "publishes nothing there now".to_owned(),
        };
        let weights = format!("{} → {}", share.weight_before, share.weight_after);
        rows.add_row([share.cluster.to_string(), weights, of_answers]);
    }
    format!("{rows}\n{}", end(&weighed.rule, &weighed.names, weighed.set, weighed.preview))
}

fn end(rule: &str, names: &[String], set: u64, preview: bool) -> String {
    let names = names.join(", ");
    match preview {
        true => format!("the Sharing {rule} is for {names}; nothing is changed\n"),
        false => format!("set {set} counts: the Sharing {rule} is changed for {names}\n"),
    }
}

#[derive(Clone, Debug, Serialize)]
struct FailedOver {
    name: DnsName,
    rule: String,
    names: Vec<String>,
    from: ClusterId,
    to: ClusterId,
    /// The number of the set of rules that counts.
    set: u64,
    preview: bool,
}

/// Runs `zonefold failover`.
///
/// # Errors
/// No rule says that a person fails the name over, or it lives in a file; the cluster has no part in it, or nothing to answer with;
/// the broker cannot be reached, or refuses.
pub async fn failover(args: ManualFailoverArgs) -> anyhow::Result<ExitCode> {
    let client = args.write.read.client()?;
    let shared = SharedName::find(&client, &args.name).await?;
    let rule = &shared.rule.name;
    let pair = shared.sharing.failover.clone().filter(|pair| pair.mode == FailoverMode::Manual);
    let Some(mut pair) = pair else {
        bail!(
            "the Sharing {rule}, by which {} is shared, lets no person fail over: set policy: failover there, with failover.mode: manual",
            args.name
        )
    };
    ensure!(
        [&pair.primary, &pair.secondary].contains(&&args.to),
        "{} fails over between {} and {}, by the Sharing {rule}, and {} is neither",
        args.name,
        pair.primary,
        pair.secondary,
        args.to
    );
    let from = pair.active().clone();
    pair.active = Some(args.to.clone());
    shared.is_of_store("spec.failover.active", &args.to)?;
    ensure!(
        shared.clusters(&[VerdictState::Accepted, VerdictState::Waiting]).contains(&args.to),
        "{} publishes nothing at {}: what is there stays until it does",
        args.to,
        args.name
    );
    let failover = serde_json::to_value(&pair)?;
    let set = shared.write(&client, &args.write, |spec| spec["failover"] = failover).await?;
    let failed_over = FailedOver {
        name: args.name,
        rule: rule.clone(),
        names: shared.patterns(),
        from,
        to: args.to,
        set,
        preview: args.write.preview,
    };
    args.write.read.write(&failed_over, |it, _| {
        format!("{} → {}\n{}", it.from, it.to, end(&it.rule, &it.names, it.set, it.preview))
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::testkit::{cluster, name};

    fn sharing(weights: serde_json::Value) -> Sharing {
        let spec = json!({
            "zone": "example.com", "names": ["www.example.com"], "policy": "weighted", "weights": weights,
        });
        Sharing::deserialize(spec).unwrap()
    }

    fn rule(rule_name: &str, zone: &str, names: &[&str]) -> RuleEntry {
        let spec = json!({ "zone": zone, "names": names, "policy": "merge" });
        RuleEntry {
            kind: "Sharing".to_owned(),
            name: rule_name.to_owned(),
            file: None,
            document: json!({ "spec": spec }),
        }
    }

    #[test]
    fn a_weight_is_a_number_from_0_to_255() {
        let given: ClusterWeight = "dev-east=10".parse().unwrap();
        assert_eq!((given.cluster, given.weight), (cluster("dev-east"), 10));
        for wrong in ["dev-east=300", "dev-east=-1", "dev-east=", "dev-east", "=1"] {
            assert!(wrong.parse::<ClusterWeight>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_are_told_in_percent_of_those_that_publish_the_name() {
        let (before, after) = (
            sharing(json!({ "east": 90, "west": 10 })),
            sharing(json!({ "east": 1, "west": 2, "north": 9 })),
        );
        let publishers = [cluster("east"), cluster("west")].into();
        let told: Vec<_> = shares(&before, &after, &publishers)
            .into_iter()
            .map(|it| (it.cluster.to_string(), it.publishes, it.percent_before, it.percent_after))
            .collect();
        assert_eq!(
            told,
            [
                ("east".to_owned(), true, 90.0, 33.3),
                ("north".to_owned(), false, 0.0, 0.0),
                ("west".to_owned(), true, 10.0, 66.7),
            ]
        );
    }

    #[test]
    fn somebody_who_publishes_the_name_has_to_have_a_weight() {
        let (before, www) = (sharing(json!({})), name("www.example.com"));
        let check = |after: serde_json::Value, publishers: &[&str]| {
            let publishers = publishers.iter().copied().map(cluster).collect();
            has_weight(&www, &shares(&before, &sharing(after), &publishers)).is_ok()
        };
        assert!(check(json!({ "east": 0, "west": 1 }), &["east", "west"]));
        assert!(!check(json!({ "east": 0, "west": 0 }), &["east", "west"]));
        assert!(!check(json!({ "east": 0, "west": 1 }), &["east"]), "west is not there");
        assert!(check(json!({ "east": 0, "west": 1 }), &[]) && !check(json!({ "east": 0 }), &[]));
    }

    #[test]
    fn the_rule_with_the_longest_pattern_in_the_name_s_zone_is_changed() {
        let rules = || {
            vec![
                rule("all", "example.com", &["*.example.com"]),
                rule("www", "example.com", &["*.pay.example.com", "www.dev.example.com"]),
                rule("dev", "dev.example.com", &["*.dev.example.com"]),
            ]
        };
        let (dev, top) = (name("dev.example.com"), name("example.com"));
        let found = |host: &str, zones: &[&DnsName]| {
            let zones = zones.iter().copied().collect();
            fitting(rules(), &name(host), &zones).map(|(rule, _)| rule.name).ok()
        };
        assert_eq!(found("www.dev.example.com", &[&top]).as_deref(), Some("www"));
        assert_eq!(found("www.dev.example.com", &[&dev]).as_deref(), Some("dev"));
        assert_eq!(found("a.example.com", &[]).as_deref(), Some("all"));
        assert_eq!(found("www.example.org", &[]), None);
    }
}
