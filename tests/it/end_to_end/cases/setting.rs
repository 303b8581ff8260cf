//! The setting of `tests/data/cases/README.md`, with one case's manifests in the folder of the cluster `c1`.

use serde_json::{Value, json};
use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::ids::ZoneId;
use zonefold::emulator::{Action, Control, EmulatorHandle, Origin, View, ZoneConfig};

use crate::support::aws::{self, Aws, DEV_ZONE};
use crate::support::deployment::{self, Deployment};
use crate::support::folder::TestFolder;
use crate::support::manifests::service;
use crate::support::wait::eventually;

/// The public zone dev.example.com.
pub const PUBLIC: &str = "Z0DEVPUBLIC000001";
/// The private zone dev.example.com.
pub const PRIVATE: &str = "Z0DEVPRIVATE00001";
/// The public zone k8s.dev.example.com.
pub const CHILD: &str = "Z0K8SPUBLIC000001";
/// The public zone other.example.net.
const OTHER: &str = "Z0OTHERPUBLIC0001";

/// The name that the cluster `c2` publishes, to see when the broker has done all that came before.
const MARK: &str = "mark.dev.example.com";
/// Answers that say nothing of what was asked.
const ASKED_TOO_EARLY: [&str; 2] = ["PriorRequestNotComplete", "Throttling"];

pub struct Setting {
    case: &'static str,
    emulator: EmulatorHandle,
    aws: Aws,
    pub site: Deployment,
    marks: u8,
}

/// A manifest of a case.
fn manifest(case: &str, file: &str) -> String {
    let path = format!("{}/tests/data/cases/{case}/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn zones() -> Vec<ZoneConfig> {
    let zone = |name, id, private| ZoneConfig {
        id: Some(ZoneId::parse(id).unwrap()),
        private,
        ..ZoneConfig::public(DnsName::parse(name).unwrap())
    };
    vec![
        zone(DEV_ZONE, PUBLIC, false),
        zone(DEV_ZONE, PRIVATE, true),
        zone("k8s.dev.example.com", CHILD, false),
        zone("other.example.net", OTHER, false),
    ]
}

fn configuration(folder: &TestFolder, aws: &Aws) -> Value {
    let mut account = aws.configured()[0].clone();
    account["zones"] = json!([
        { "name": "*", "policy": "sync", "default_ttl_secs": 60, "record_types": "all" }
    ]);
    let all = json!([account]);
    let mut configuration = deployment::configuration(folder, &deployment::sqlite(folder), all);
    configuration["environments"] = json!([{ "name": "dev" }]);
    configuration["clusters"] =
        ["c1", "c2"].map(|name| json!({ "name": name, "environment": "dev" })).as_slice().into();
    configuration
}

impl Setting {
    pub async fn of(case: &'static str) -> Self {
        Self::prepared(case, |_| {}).await
    }

    /// The same after `prepare` has written as another writer.
    pub async fn prepared(case: &'static str, prepare: impl FnOnce(&Control)) -> Self {
        let (emulator, aws) = aws::emulated_with(zones()).await;
        prepare(&emulator.control());
        let folder = TestFolder::new();
        let configuration = configuration(&folder, &aws);
        let mut site = Deployment::start(folder, &aws, &configuration).await;
        site.agent("c1", &[("manifest.yaml", manifest(case, "manifest.yaml"))]).await;
        site.agent("c2", &[]).await;
        Self { case, emulator, aws, site, marks: 0 }
    }

    /// Adds another manifest of the case.
    pub fn add(&self, file: &str) {
        self.site.write("c1", file, &manifest(self.case, file));
    }

    /// Waits until the endpoints of `c1` have these verdicts, each as [`said`] shows it, and the broker has nothing left to do.
    pub async fn comes_to(&mut self, wanted: &[&str]) {
        let mut wanted: Vec<&str> = wanted.to_vec();
        wanted.sort_unstable();
        self.comes_to_any(|told| told == wanted).await;
    }

    /// The same for verdicts that are known less exactly; answers the verdicts.
    pub async fn comes_to_any(&mut self, is_right: impl Fn(&[String]) -> bool) -> Vec<String> {
        let told = eventually(&format!("{}: the right verdicts", self.case), async || {
            let endpoints = self.site.endpoints("c1").await?;
            let mut told: Vec<String> = endpoints.iter().map(said).collect();
            told.sort_unstable();
            if is_right(&told) {
                return Ok(told);
            }
            let verdicts: Vec<String> =
                endpoints.iter().map(|endpoint| format!("{}", endpoint["verdict"])).collect();
            Err(format!("{told:#?}\n{verdicts:#?}\n{:#?}", self.all_records()))
        })
        .await;
        self.settle().await;
        told
    }

    /// Waits until what came later than all of the case is done.
    pub async fn settle(&mut self) {
        self.marks += 1;
        let address = format!("198.51.100.{}", self.marks);
        self.site.write("c2", "mark.yaml", &service("mark", MARK, &address));
        let line = format!("{MARK} A 60 {address}");
        eventually(&format!("{}: what comes later is done", self.case), async || {
            let is_there = |zone: &str| self.listed(zone).contains(&line);
            if is_there(PUBLIC) && is_there(PRIVATE) {
                return Ok(());
            }
            Err(format!("{:#?}", self.all_records()))
        })
        .await;
    }

    /// The message that goes with the verdict of an endpoint, whose object is named with or without its namespace.
    pub async fn message(&self, object: &str, name: &str) -> String {
        let endpoints = self.site.endpoints("c1").await.unwrap();
        let is_it = |it: &&Value| {
            format!("/{}", whose(it)).ends_with(&format!("/{object}")) && it["name"] == name
        };
        let found = endpoints.iter().find(is_it);
        let found = found.unwrap_or_else(|| panic!("{}: no {object} {name}", self.case));
        found["verdict"]["message"].as_str().unwrap().to_owned()
    }

    /// Asserts what a zone holds besides its own SOA and NS, each as [`shown`] shows it.
    pub fn holds(&self, zone: &str, wanted: &[&str]) {
        assert_eq!(self.records(zone), wanted, "{}: the zone {zone}", self.case);
    }

    /// Asserts that the public and the private zone dev.example.com hold the same.
    pub fn both_hold(&self, wanted: &[&str]) {
        self.holds(PUBLIC, wanted);
        self.holds(PRIVATE, wanted);
    }

    /// The record sets of a zone, but for its own SOA and NS and the mark.
    pub fn records(&self, zone: &str) -> Vec<String> {
        let mark = format!("{MARK} ");
        self.listed(zone).into_iter().filter(|line| !line.starts_with(&mark)).collect()
    }

    fn listed(&self, zone: &str) -> Vec<String> {
        let own = [" SOA ", " NS "].map(|rtype| {
            zones()
                .into_iter()
                .filter(|it| it.id.as_ref().is_some_and(|id| id.as_str() == zone))
                .map(|it| format!("{}{rtype}", it.name))
                .collect::<String>()
        });
        let id = ZoneId::parse(zone).unwrap();
        let records = self.emulator.control().records(&id, View::Accepted).unwrap();
        let lines = records.iter().map(shown);
        lines.filter(|line| !own.iter().any(|own| line.starts_with(own))).collect()
    }

    fn all_records(&self) -> Vec<Vec<String>> {
        [PUBLIC, PRIVATE, CHILD, OTHER].map(|zone| self.records(zone)).into()
    }

    /// How many changes of ours Route 53 has applied at a name.
    pub fn changes_of(&self, name: &str) -> usize {
        let journal = self.emulator.control().journal(0);
        let ours = journal.iter().filter(|entry| entry.origin == Origin::Request);
        let names = ours.flat_map(|entry| &entry.changes).filter_map(|change| {
            let set = change.after.as_ref().or(change.before.as_ref())?;
            Some(bare(&set.name).to_owned())
        });
        names.filter(|it| it == name).count()
    }

    /// Asserts that nothing was asked that Route 53 refuses.
    fn nothing_was_refused(&self) {
        let counters = self.emulator.control().counters();
        let refused: Vec<_> = counters
            .requests
            .iter()
            .filter(|count| count.action == Action::ChangeResourceRecordSets)
            .filter(|count| count.outcome != "ok")
            .filter(|count| !ASKED_TOO_EARLY.contains(&count.outcome.as_str()))
            .collect();
        assert!(refused.is_empty(), "{}: {refused:?}", self.case);
    }

    pub async fn finish(self) {
        self.nothing_was_refused();
        self.site.finish(&self.aws).await;
        self.emulator.stop().await;
    }
}

/// An endpoint in a line: object, name, type, and how far it has come or why not.
fn said(endpoint: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let verdict = &endpoint["verdict"];
    let outcome = if verdict["state"] == "accepted" {
        text(&endpoint["progress"]["state"])
    } else {
        format!("{} {}", text(&verdict["state"]), text(&verdict["reason"]))
    };
    let (name, rtype) = (text(&endpoint["name"]), text(&endpoint["type"]));
    format!("{} {name} {rtype} {outcome}", whose(endpoint))
}

/// Namespace and name of an endpoint's object.
fn whose(endpoint: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    format!("{}/{}", text(&endpoint["namespace"]), text(&endpoint["object"]))
}

/// A record set in a line: name, type, and TTL with values or the target of an alias.
fn shown(set: &RawRecordSet) -> String {
    let (name, rtype) = (bare(&set.name), &set.rtype);
    let content = match (&set.alias, set.ttl_secs) {
        (Some(alias), _) => format!("alias {} {}", alias.zone_id, bare(&alias.name)),
        (None, ttl_secs) => {
            let mut values: Vec<&str> = set.values.iter().map(|value| bare(value)).collect();
            values.sort_unstable();
            format!("{} {}", ttl_secs.unwrap_or_default(), values.join(","))
        }
    };
    let place = set.geoproximity.as_ref().and_then(|place| place.coordinates.as_ref());
    let place = place.map_or_else(String::new, |(north, east)| format!(" at {north},{east}"));
    format!("{name} {rtype} {content}{place}")
}

fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}
