//! The wishes of clusters' objects: mostly sound, on few names, so that clusters meet; some of them wrong.

use std::collections::BTreeMap;
use std::fmt;

use arcstr::ArcStr;
use zonefold::agent::sources::{Extraction, ObjectRef, Pending, SourceKind, Unknown};
use zonefold::core::endpoint::{Endpoint, EndpointKey};

use crate::shape::Shape;

/// One wish, as an object's author would say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The owner name.
    pub host: String,
    /// The type.
    pub rtype: &'static str,
    /// Empty for none.
    pub set_identifier: String,
    /// The values.
    pub targets: Vec<String>,
    /// Seconds.
    pub ttl_secs: Option<i64>,
    /// Of a weighted set.
    pub weight: Option<u8>,
    /// Further properties, by the names that endpoints have for them.
    pub properties: Vec<(&'static str, String)>,
}

/// An object of a cluster, by the place of its kind and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// The kind.
    pub kind: SourceKind,
    /// Which.
    pub number: u8,
}

impl Object {
    /// As the agent names it.
    pub fn reference(self) -> ObjectRef {
        ObjectRef {
            source: self.kind,
            namespace: "default".into(),
            name: format!("o{}", self.number).into(),
        }
    }
}

/// How many names of a zone are wished for.
const HOSTS: u8 = 6;

impl Wish {
    /// Draws a wish of a cluster.
    pub fn draw(shape: &Shape, cluster: usize, random: &mut fastrand::Rng) -> Self {
        let zones: Vec<&str> = shape.zones().map(|(_, zone)| zone.apex).collect();
        let apex = zones[random.usize(0..zones.len())];
        let host = match random.u8(0..40) {
            0 => format!("bad..{apex}"),
            1 => "host.nobody.invalid".to_owned(),
            2 => apex.to_owned(),
            3 => format!("*.w.{apex}"),
            4 => format!("deep.dev.{apex}"),
            // Names of one cluster alone, and names that clusters meet at.
            number if number < 20 => format!("c{cluster}-{}.{apex}", random.u8(0..HOSTS)),
            _ => format!("n{}.{apex}", random.u8(0..HOSTS)),
        };
        let mut wish = Self {
            host,
            rtype: "A",
            set_identifier: String::new(),
            targets: vec![],
            ttl_secs: None,
            weight: None,
            properties: vec![],
        };
        match random.u8(0..20) {
            0 | 1 => {
                wish.rtype = "CNAME";
                wish.targets = vec![format!("t{}.example.net", random.u8(0..3))];
            }
            2 => {
                wish.rtype = "TXT";
                wish.targets = vec![format!("text {}", random.u8(0..3))];
            }
            3 => {
                wish.rtype = "AAAA";
                wish.targets = vec![format!("2001:db8::{}", random.u8(1..9))];
            }
            4 => wish.targets = vec!["not-an-address".to_owned()],
            5 => {
                wish.targets = vec![address(random)];
                wish.ttl_secs = Some(-5);
            }
            6 | 7 => {
                wish.set_identifier = format!("s{cluster}");
                wish.weight = Some(random.u8(0..4) * 10);
                wish.targets = vec![address(random)];
                wish.ttl_secs = Some(60);
            }
            _ => {
                wish.targets = (0..random.u8(1..=2)).map(|_| address(random)).collect();
                wish.ttl_secs = [None, Some(60), Some(120)][random.usize(0..3)];
            }
        }
        wish
    }

    /// One address at a name.
    pub fn plain(host: String, random: &mut fastrand::Rng) -> Self {
        Self {
            host,
            rtype: "A",
            set_identifier: String::new(),
            targets: vec![address(random)],
            ttl_secs: None,
            weight: None,
            properties: vec![],
        }
    }

    /// As the agent's extractors say it.
    pub fn endpoint(&self, object: Object) -> Endpoint {
        let reference = object.reference();
        let mut properties: BTreeMap<ArcStr, ArcStr> = BTreeMap::new();
        if let Some(weight) = self.weight {
            properties.insert("aws/weight".into(), weight.to_string().into());
        }
        for (name, value) in &self.properties {
            properties.insert((*name).into(), value.as_str().into());
        }
        Endpoint {
            key: EndpointKey {
                source: reference.source.as_str().into(),
                namespace: reference.namespace,
                object: reference.name,
                dns_name: self.host.as_str().into(),
                record_type: self.rtype.into(),
                set_identifier: self.set_identifier.as_str().into(),
            },
            targets: self.targets.iter().map(|target| target.as_str().into()).collect(),
            ttl_secs: self.ttl_secs,
            properties,
        }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.host, self.rtype)?;
        if !self.set_identifier.is_empty() {
            write!(f, " [{}]", self.set_identifier)?;
        }
        write!(f, " = {}", self.targets.join(" "))?;
        self.ttl_secs.map_or(Ok(()), |ttl| write!(f, " (TTL {ttl})"))?;
        self.weight.map_or(Ok(()), |weight| write!(f, " weight {weight}"))?;
        self.properties.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// Draws an address.
pub fn address(random: &mut fastrand::Rng) -> String {
    format!("192.0.2.{}", random.u8(1..20))
}

/// The extraction of an object with these wishes; one key once.
pub fn extraction(object: Object, wishes: &[Wish]) -> Extraction {
    let endpoints: BTreeMap<EndpointKey, Endpoint> = wishes
        .iter()
        .map(|wish| wish.endpoint(object))
        .map(|endpoint| (endpoint.key.clone(), endpoint))
        .collect();
    Extraction { endpoints: endpoints.into_values().collect(), ..Extraction::default() }
}

/// The same object when its load balancer shows no address: its hosts are there, and where they point is not known now.
pub fn without_status(known: &Extraction) -> Extraction {
    let pending = || Pending::Status("the load balancer has no address".to_owned());
    let hosts =
        known.endpoints.iter().map(|endpoint| (endpoint.key.dns_name.clone(), pending())).collect();
    Extraction { unknown: Unknown::Hosts(hosts), ..Extraction::default() }
}
