//! A fleet from a seed: accounts with zones, clusters of very different sizes, and what each cluster wants.
//!
//! Everything is a function of the seed and the sizes. The endpoints of a cluster depend on no other cluster's, so that a fleet
//! is made cluster by cluster. No two clusters want one name: whatever a fleet wants is applied in the end.

use std::collections::BTreeMap;

use arcstr::ArcStr;
use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::RecordType;
use zonefold::core::endpoint::parsed::parse_endpoint;
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::{AccountId, ClusterId, EnvironmentId};

/// The kinds of sources that a fleet's endpoints come from.
pub const SOURCES: [&str; 3] = ["dnsendpoint", "ingress", "service"];

/// Sizes of clusters fall with their rank by this power: of a thousand, about ten are ten times as large as the mean.
const CLUSTER_SKEW: f64 = 0.8;
/// Shares of the zones in a cluster's names fall by this power: the hottest zone of an environment is some ten times the mean.
const ZONE_SKEW: f64 = 0.5;
const MOST_ENVIRONMENTS: usize = 10;

const TEAMS: [&str; 12] = [
    "shop", "search", "payments", "identity", "media", "mail", "data", "edge", "billing",
    "support", "ads", "maps",
];
const APPS: [&str; 14] = [
    "web",
    "api",
    "admin",
    "auth",
    "cdn",
    "ws",
    "grafana",
    "jobs",
    "static",
    "checkout",
    "gateway",
    "inventory-service",
    "recommendation-engine",
    "customer-notification-dispatcher",
];
const REGIONS: [&str; 6] =
    ["eu-central-1", "eu-west-1", "us-east-1", "us-west-2", "ap-southeast-2", "sa-east-1"];

/// How large a fleet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetSize {
    /// Clusters.
    pub clusters: u32,
    /// Endpoints of all clusters together.
    pub endpoints: u32,
    /// Hosted zones of all accounts together.
    pub zones: u32,
    /// AWS accounts.
    pub accounts: u32,
}

/// An AWS account of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetAccount {
    /// Twelve digits.
    pub id: AccountId,
    /// Its environment.
    pub environment: EnvironmentId,
    /// Its zones.
    pub zones: Vec<DnsName>,
}

/// A cluster of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetCluster {
    /// Its name.
    pub id: ClusterId,
    /// Its environment.
    pub environment: EnvironmentId,
    /// How many endpoints it has.
    pub endpoints: usize,
    /// Its place among all clusters.
    index: usize,
    /// Its zones, the most used one first.
    zones: Vec<DnsName>,
}

/// A change of one endpoint within a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Churn {
    /// It has other targets than before.
    Changed {
        /// The endpoint before.
        before: Endpoint,
        /// The endpoint now.
        after: Endpoint,
    },
    /// It is new.
    Added(Endpoint),
    /// It is gone.
    Removed(Endpoint),
}

/// Where an address that moves to and fro is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPlace {
    /// Where the fleet has it.
    First,
    /// Where it moves to.
    Second,
}

/// See the module's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// The accounts.
    pub accounts: Vec<FleetAccount>,
    /// The clusters; large and small ones are mixed.
    pub clusters: Vec<FleetCluster>,
    seed: u64,
}

impl Fleet {
    /// Makes accounts, zones and clusters; there are at least as many zones as accounts.
    ///
    /// # Errors
    /// A name is none, which would be a defect.
    pub fn new(size: FleetSize, seed: u64) -> anyhow::Result<Self> {
        anyhow::ensure!(
            size.zones >= size.accounts,
            "each account needs a zone: give at least as many zones as accounts"
        );
        let environments = (size.accounts as usize).clamp(1, MOST_ENVIRONMENTS);
        let environment =
            |index: usize| EnvironmentId::parse(format!("env-{}", index % environments));
        let mut accounts = vec![];
        for index in 0..size.accounts.max(1) as usize {
            let id = AccountId::parse(format!("{:012}", 200_000_000_000_u64 + index as u64 * 7))?;
            accounts.push(FleetAccount { id, environment: environment(index)?, zones: vec![] });
        }
        for index in 0..size.zones as usize {
            let account = index % accounts.len();
            let account = &mut accounts[account];
            let team = TEAMS[index % TEAMS.len()];
            account.zones.push(DnsName::parse(&format!(
                "{team}-{index:03}.{}.example.com",
                account.environment
            ))?);
        }
        let mut sizes =
            shares(size.endpoints as usize, size.clusters.max(1) as usize, CLUSTER_SKEW);
        let mut rng = fastrand::Rng::with_seed(seed);
        rng.shuffle(&mut sizes);
        let mut clusters = vec![];
        for (index, endpoints) in sizes.into_iter().enumerate() {
            let environment = environment(index)?;
            let zones = zones_of(&accounts, &environment, endpoints, &mut rng);
            let id = ClusterId::parse(format!("{}-{index:04}", REGIONS[index % REGIONS.len()]))?;
            clusters.push(FleetCluster { id, environment, endpoints, index, zones });
        }
        Ok(Self { accounts, clusters, seed })
    }

    /// The environments, each once.
    pub fn environments(&self) -> Vec<EnvironmentId> {
        let mut environments: Vec<_> =
            self.accounts.iter().map(|account| account.environment.clone()).collect();
        environments.sort();
        environments.dedup();
        environments
    }

    /// The wanted endpoints of a cluster.
    pub fn endpoints(&self, cluster: &FleetCluster) -> Vec<Endpoint> {
        (0..cluster.endpoints).map(|serial| cluster.endpoint(self.seed, serial)).collect()
    }

    /// An address of a cluster, in its first or its second place; `None` if the cluster has no simple one. Every cluster's is
    /// of one shape, so that changing it costs the same in any fleet.
    pub fn address(&self, cluster: &FleetCluster, place: AddressPlace) -> Option<Endpoint> {
        let is_simple = |endpoint: &Endpoint| {
            endpoint.key.record_type == "A"
                && endpoint.key.set_identifier.is_empty()
                && endpoint.targets.len() == 1
        };
        let found = (0..cluster.endpoints)
            .map(|serial| cluster.endpoint(self.seed, serial))
            .find(is_simple)?;
        Some(if place == AddressPlace::Second { moved(&found) } else { found })
    }

    /// A day's changes at a cluster: of the given share of its endpoints, six tenths change, two are added and two removed.
    pub fn churn(&self, cluster: &FleetCluster, share: f64) -> Vec<Churn> {
        let touched = (cluster.endpoints as f64 * share).round() as usize;
        let (changed, removed) = (touched * 6 / 10, touched * 2 / 10);
        let mut serials: Vec<usize> = (0..cluster.endpoints).collect();
        fastrand::Rng::with_seed(mixed(self.seed, cluster.index, usize::MAX)).shuffle(&mut serials);
        let mut serials = serials.into_iter();
        let mut churn = vec![];
        for serial in serials.by_ref().take(changed) {
            let before = cluster.endpoint(self.seed, serial);
            let after = moved(&before);
            churn.push(Churn::Changed { before, after });
        }
        churn.extend(
            serials.take(removed).map(|serial| Churn::Removed(cluster.endpoint(self.seed, serial))),
        );
        let added = touched.saturating_sub(changed + removed);
        churn.extend(
            (0..added)
                .map(|new| Churn::Added(cluster.endpoint(self.seed, cluster.endpoints + new))),
        );
        churn
    }
}

/// Splits `total` into parts that fall with their rank by a power; the largest first.
pub fn shares(total: usize, parts: usize, skew: f64) -> Vec<usize> {
    let weights: Vec<f64> = (1..=parts).map(|rank| (rank as f64).powf(-skew)).collect();
    let sum: f64 = weights.iter().sum();
    let mut shares: Vec<usize> =
        weights.iter().map(|weight| (total as f64 * weight / sum) as usize).collect();
    let given: usize = shares.iter().sum();
    // The remainder of rounding down goes to the smallest parts.
    shares.iter_mut().rev().take(total - given).for_each(|share| *share += 1);
    shares
}

/// A few zones of the environment, more for a large cluster; drawn, so that each zone has names of several clusters.
fn zones_of(
    accounts: &[FleetAccount],
    environment: &EnvironmentId,
    endpoints: usize,
    rng: &mut fastrand::Rng,
) -> Vec<DnsName> {
    let own = accounts.iter().filter(|account| account.environment == *environment);
    let zones: Vec<&DnsName> = own.flat_map(|account| &account.zones).collect();
    let wanted = 4 + endpoints / 250;
    rng.choose_multiple(zones, wanted).into_iter().cloned().collect()
}

/// A number for one serial of one cluster, from which everything about the endpoint is drawn.
fn mixed(seed: u64, cluster: usize, serial: usize) -> u64 {
    let place = ((cluster as u64) << 32) ^ serial as u64;
    (seed.rotate_left(17) ^ place).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) ^ place
}

impl FleetCluster {
    /// One endpoint. Every serial has a name of its own, but for weighted sets, two of which share one.
    fn endpoint(&self, seed: u64, serial: usize) -> Endpoint {
        let weighted = serial % 20 < 2;
        // The two sets of a weighted name are drawn from one number.
        let drawn_by = if weighted { serial - serial % 2 } else { serial };
        let mut rng = fastrand::Rng::with_seed(mixed(seed, self.index, drawn_by));
        let app = APPS[rng.usize(..APPS.len())];
        let name = self.name(app, drawn_by, &mut rng);
        let endpoint = match rng.u8(0..100) {
            _ if weighted => self.weighted(serial, &mut rng),
            0..40 => self.alias(&mut rng),
            40..75 => addresses(&mut rng),
            75..85 => text(&mut rng),
            85..93 => canonical_name(&mut rng),
            _ => six(&mut rng),
        };
        let source = if endpoint.key.record_type == "TXT" || weighted {
            SOURCES[0]
        } else {
            SOURCES[1 + rng.usize(0..2)]
        };
        let dns_name = if endpoint.key.record_type == "TXT" {
            format!("_acme-challenge.{name}")
        } else {
            name
        };
        Endpoint {
            key: EndpointKey {
                source: source.into(),
                namespace: TEAMS[rng.usize(..TEAMS.len())].into(),
                // An object has about three hosts.
                object: format!("{app}-{}", drawn_by / 3).into(),
                dns_name: dns_name.into(),
                ..endpoint.key
            },
            ..endpoint
        }
    }

    /// Short and long names below the cluster's zones; the cluster's and the endpoint's numbers make each the only one.
    fn name(&self, app: &str, serial: usize, rng: &mut fastrand::Rng) -> String {
        let zone = &self.zones[rank(rng, self.zones.len())];
        let own = format!("{:x}x{serial:x}", self.index);
        let team = TEAMS[rng.usize(..TEAMS.len())];
        match rng.u8(0..10) {
            0..3 => format!("{own}.{zone}"),
            3..7 => format!("{app}-{own}.{team}.{zone}"),
            7..9 => format!("{app}-{own}.{team}.{}.{zone}", self.id),
            _ => format!(
                "{app}-{own}-pr-{}.review.{team}.svc.{}.{zone}",
                rng.u16(100..9_999),
                self.id
            ),
        }
    }

    /// An ingress behind one of the handful of load balancers that the cluster has.
    fn alias(&self, rng: &mut fastrand::Rng) -> Endpoint {
        let region = REGIONS[self.index % REGIONS.len()];
        let balancer = rng.usize(0..4);
        let number = mixed(0, self.index, balancer) % 10_000_000_000;
        let target = format!("k8s-{}-{balancer}-{number:010}.{region}.elb.amazonaws.com", self.id);
        of("CNAME", [target], [("alias", "true")], rng)
    }

    /// One of two weighted sets of a name.
    fn weighted(&self, serial: usize, rng: &mut fastrand::Rng) -> Endpoint {
        let (set, weight) =
            if serial.is_multiple_of(2) { ("blue", "200") } else { ("green", "55") };
        let mut endpoint = of("A", [address(rng)], [("aws/weight", weight)], rng);
        endpoint.key.set_identifier = format!("{}-{set}", self.id).into();
        // Route 53 requires one TTL for all sets of a weighted group.
        endpoint.ttl_secs = Some(60);
        endpoint
    }
}

/// A place in a list whose first places are drawn more often than its last.
fn rank(rng: &mut fastrand::Rng, len: usize) -> usize {
    let place = rng.f64().powf(1.0 / (1.0 - ZONE_SKEW));
    ((place * len as f64) as usize).min(len.saturating_sub(1))
}

fn of<const N: usize, const M: usize>(
    rtype: &str,
    targets: [String; N],
    properties: [(&str, &str); M],
    rng: &mut fastrand::Rng,
) -> Endpoint {
    Endpoint {
        key: EndpointKey { record_type: rtype.into(), ..EndpointKey::default() },
        targets: targets.into_iter().map(ArcStr::from).collect(),
        ttl_secs: [None, Some(60), Some(300)][rng.usize(0..3)],
        properties: properties
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect::<BTreeMap<_, _>>(),
    }
}

fn address(rng: &mut fastrand::Rng) -> String {
    format!("10.{}.{}.{}", rng.u8(..128), rng.u8(..), rng.u8(1..255))
}

fn addresses(rng: &mut fastrand::Rng) -> Endpoint {
    let mut endpoint = of("A", [address(rng)], [], rng);
    for _ in 1..[1, 1, 2, 3, 4][rng.usize(0..5)] {
        endpoint.targets.push(address(rng).into());
    }
    endpoint
}

fn six(rng: &mut fastrand::Rng) -> Endpoint {
    of("AAAA", [format!("fd00:{:x}::{:x}", rng.u16(1..), rng.u16(1..))], [], rng)
}

fn text(rng: &mut fastrand::Rng) -> Endpoint {
    let token: String = (0..43).map(|_| rng.alphanumeric()).collect();
    of("TXT", [format!("\"{token}\"")], [], rng)
}

fn canonical_name(rng: &mut fastrand::Rng) -> Endpoint {
    of(
        "CNAME",
        [format!("{}-{}.pages.example.net", TEAMS[rng.usize(..TEAMS.len())], rng.u16(..))],
        [("alias", "false")],
        rng,
    )
}

/// The same endpoint with other targets: addresses from the other half of the network, other names and texts.
fn moved(before: &Endpoint) -> Endpoint {
    let target = |target: &ArcStr| -> ArcStr {
        match before.key.record_type.as_str() {
            "A" => {
                let mut octets = target.split('.').map(|octet| octet.parse::<u8>().unwrap_or(0));
                let [a, b, c, d] = std::array::from_fn(|_| octets.next().unwrap_or(0));
                format!("{a}.{}.{c}.{d}", b.wrapping_add(128)).into()
            }
            "AAAA" => target.replacen("fd00", "fd01", 1).into(),
            "TXT" => format!("{}+\"", target.trim_end_matches('"')).into(),
            _ => format!("b-{target}").into(),
        }
    };
    Endpoint { targets: before.targets.iter().map(target).collect(), ..before.clone() }
}

/// How many record sets an endpoint becomes: two for an alias, which is published as A and AAAA.
pub fn record_sets(endpoint: &Endpoint) -> Vec<RecordType> {
    parse_endpoint(endpoint).map(|wish| wish.types).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SIZE: FleetSize = FleetSize { clusters: 50, endpoints: 20_000, zones: 40, accounts: 5 };

    fn all(fleet: &Fleet) -> Vec<Endpoint> {
        fleet.clusters.iter().flat_map(|cluster| fleet.endpoints(cluster)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_fleet_and_another_seed_another() {
        let (one, two, other) = (
            Fleet::new(SIZE, 7).unwrap(),
            Fleet::new(SIZE, 7).unwrap(),
            Fleet::new(SIZE, 8).unwrap(),
        );
        assert!(one == two && all(&one) == all(&two));
        assert!(all(&one) != all(&other));
        assert_eq!(one.churn(&one.clusters[3], 0.1), two.churn(&two.clusters[3], 0.1));
    }

    #[test]
    fn a_fleet_is_as_large_as_it_is_asked_to_be_and_skewed() {
        let fleet = Fleet::new(SIZE, 1).unwrap();
        assert_eq!(all(&fleet).len(), 20_000);
        let mut sizes: Vec<usize> =
            fleet.clusters.iter().map(|cluster| cluster.endpoints).collect();
        sizes.sort_unstable();
        assert!(sizes[49] > 8 * sizes[25], "{sizes:?}");
        assert_eq!(fleet.accounts.iter().map(|account| account.zones.len()).sum::<usize>(), 40);
    }

    #[test]
    fn every_endpoint_can_be_applied_and_no_two_want_one_record_set() {
        let fleet = Fleet::new(SIZE, 1).unwrap();
        let (mut keys, mut names) = (HashSet::new(), HashSet::new());
        for cluster in &fleet.clusters {
            let reachable: Vec<&DnsName> = fleet
                .accounts
                .iter()
                .filter(|account| account.environment == cluster.environment)
                .flat_map(|account| &account.zones)
                .collect();
            for endpoint in fleet.endpoints(cluster) {
                let wish = parse_endpoint(&endpoint)
                    .unwrap_or_else(|verdict| panic!("{endpoint:?}: {verdict:?}"));
                assert!(
                    reachable.iter().any(|zone| wish.name.is_in(zone)),
                    "{} has no zone",
                    wish.name
                );
                assert!(
                    keys.insert((cluster.index, endpoint.key.hash())),
                    "{:?} is there twice",
                    endpoint.key
                );
                assert!(
                    names.insert((
                        wish.name.clone(),
                        wish.types.clone(),
                        wish.set_identifier.clone()
                    )),
                    "{}",
                    wish.name
                );
            }
        }
        let types: HashSet<_> = names.iter().flat_map(|(_, types, _)| types.clone()).collect();
        assert_eq!(types.len(), 4, "A, AAAA, CNAME and TXT: {types:?}");
    }

    #[test]
    fn a_day_s_churn_has_its_share_of_changes_additions_and_removals() {
        let fleet = Fleet::new(SIZE, 1).unwrap();
        let cluster = fleet.clusters.iter().max_by_key(|cluster| cluster.endpoints).unwrap();
        let held: HashSet<_> =
            fleet.endpoints(cluster).iter().map(|endpoint| endpoint.key.hash()).collect();
        let churn = fleet.churn(cluster, 0.1);
        let mut counts = [0, 0, 0];
        for change in &churn {
            match change {
                Churn::Changed { before, after } => {
                    counts[0] += 1;
                    assert!(before.key == after.key && before.version() != after.version());
                    parse_endpoint(after).unwrap();
                }
                Churn::Added(endpoint) => {
                    counts[1] += 1;
                    assert!(!held.contains(&endpoint.key.hash()));
                }
                Churn::Removed(endpoint) => {
                    counts[2] += 1;
                    assert!(held.contains(&endpoint.key.hash()));
                }
            }
        }
        let touched = (cluster.endpoints as f64 * 0.1).round() as usize;
        assert_eq!(counts.iter().sum::<usize>(), touched);
        assert!(counts[0] > counts[1] && counts[1] > 0 && counts[2] > 0, "{counts:?}");
    }
}
