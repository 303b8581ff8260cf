//! Builders for tests of the core and of the broker.

use std::sync::Arc;

use arcstr::ArcStr;

use super::dns::name::DnsName;
use super::endpoint::parsed::parse_endpoint;
use super::endpoint::verdict::Placement;
use super::endpoint::{Endpoint, EndpointKey};
use super::ids::{AccountId, ClusterId, ZoneId};
use super::planning::claims::{Contribution, ZoneContext};
use super::planning::policy::ZoneSettings;
use super::planning::record_types::RecordTypes;
use super::visibility::Visibility;

/// A name.
pub fn name(text: &str) -> DnsName {
    DnsName::parse(text).unwrap()
}

/// A cluster.
pub fn cluster(text: &str) -> ClusterId {
    ClusterId::parse(text).unwrap()
}

/// The zone `Z1`, `example.com`, of the account 111111111111, which accepts all record types.
pub fn zone_context() -> ZoneContext {
    let placement = Placement {
        account: AccountId::parse("111111111111").unwrap(),
        zone: ZoneId::parse("Z1").unwrap(),
    };
    let settings = ZoneSettings { record_types: RecordTypes::All, ..ZoneSettings::default() };
    ZoneContext::new(placement, name("example.com"), Visibility::Public, &settings)
}

/// An endpoint of the object `ingress/default/<object>`.
pub fn endpoint(object: &str, dns_name: &str, record_type: &str, targets: &[&str]) -> Endpoint {
    Endpoint {
        key: EndpointKey {
            source: "ingress".into(),
            namespace: "default".into(),
            object: object.into(),
            dns_name: dns_name.into(),
            record_type: record_type.into(),
            set_identifier: "".into(),
        },
        targets: targets.iter().map(|t| ArcStr::from(*t)).collect(),
        ..Endpoint::default()
    }
}

/// The endpoint as a contribution of a cluster; without a parsed form if it is not valid.
pub fn contribution(cluster_name: &str, arrival: i64, endpoint: Endpoint) -> Contribution {
    Contribution {
        cluster: cluster(cluster_name),
        arrival,
        parsed: parse_endpoint(&endpoint).ok().map(Arc::new),
        endpoint: Arc::new(endpoint),
        leaves: false,
    }
}
