//! Endpoints that an earlier life of this agent published and this one does not see.
//!
//! The agent keeps nothing over a restart. When it comes back with another filter, another prefix or fewer rights, or while a
//! load balancer has no address, an object may be there that this agent does not read as before, and a complete list that
//! lacks it says nothing. So the broker lists what it holds, and whatever no object here asks for is looked up one by one:
//! only what is proven to be gone is left out. The rest is kept and flagged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arcstr::ArcStr;
use kube::Client;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::ask::{Presence, look_up, presence};
use super::document::Document;
use super::feed::{DELETION_GRACE, News};
use super::resources::{Origin, resource_of};
use super::world::{FeedId, Followed, Reading};
use crate::agent::index::{DelCause, EntryState, Index, Kept};
use crate::agent::shared::{Shared, State};
use crate::agent::sources::{ObjectRef, SourceKind, Unknown};
use crate::core::endpoint::{EndpointKey, Version};

/// The time until unseen objects are looked up again.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// The pause between two look-ups.
const PAUSE: Duration = Duration::from_millis(20);

/// The kinds to look up, and how objects are read.
pub struct Prover {
    /// The connection.
    pub client: Client,
    /// The kinds that this agent follows.
    pub sources: Vec<SourceKind>,
    /// How it reads them.
    pub reading: Reading,
    /// Receives the news that a source was proven.
    pub to: mpsc::Sender<(FeedId, News)>,
}

/// The result of looking up an object.
#[derive(Clone, Debug)]
enum Found {
    There(Box<Seen>),
    Gone,
    /// For people.
    Unknown(String),
}

/// An object that is there, read once for all of its endpoints.
#[derive(Clone, Debug)]
struct Seen {
    /// Why this agent does not read it.
    refused: Option<String>,
    unknown: Unknown,
    assumes: Option<String>,
    keys: BTreeSet<EndpointKey>,
    /// The names of the keys.
    names: BTreeSet<ArcStr>,
    /// All words that people wrote on it.
    words: BTreeSet<String>,
    /// Whether more may be written on it than was read.
    is_too_deep: bool,
    is_headless: bool,
}

impl Seen {
    fn read(reading: &Reading, source: SourceKind, document: Document) -> Self {
        let refused = reading
            .filter
            .refuses(source, &document)
            .or_else(|| reading.filter.overlooks(&document));
        let (words, is_headless) = (document.words(), document.spec["clusterIP"] == "None");
        let is_too_deep = document.is_too_deep();
        let extraction = reading.read(source, document);
        let keys: BTreeSet<EndpointKey> =
            extraction.endpoints.into_iter().map(|endpoint| endpoint.key).collect();
        Self {
            refused,
            unknown: extraction.unknown,
            assumes: extraction.assumes,
            names: keys.iter().map(|key| key.dns_name.clone()).collect(),
            keys,
            words,
            is_too_deep,
            is_headless,
        }
    }

    /// Whether people wrote this word on it, as far as that is known.
    fn may_mention(&self, word: &str) -> bool {
        self.is_too_deep || self.words.contains(word)
    }
}

/// The decision about an endpoint that the broker holds and no object here asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Judgement {
    /// No object asks for it any more.
    Withdrawn,
    Kept(EntryState),
}

type Candidates = BTreeMap<ObjectRef, Vec<(EndpointKey, Version)>>;

/// Proves each source once it was read, and looks up unseen objects again from time to time.
pub async fn run(prover: Prover, shared: Arc<Shared>) {
    loop {
        shared.wait_until(|state| state.statuses.is_complete()).await;
        keep_what_is_not_followed(&prover, &shared);
        // Once another agent has led, the broker's state is unknown again: a comparison made till then, however far it got,
        // proves nothing.
        tokio::select! {
            () = shared.wait_until(|state| !state.statuses.is_complete()) => {}
            () = prove_and_look_again(&prover, &shared) => {}
        }
    }
}

async fn prove_and_look_again(prover: &Prover, shared: &Shared) {
    let mut look_again_at = Instant::now() + LOOK_AGAIN;
    loop {
        let awaiting = |state: &State| {
            prover.sources.iter().copied().find(|source| state.index.awaits_proof(*source))
        };
        tokio::select! {
            () = shared.wait_until(|state| awaiting(state).is_some()) => {
                if let Some(source) = shared.read(awaiting) {
                    prove(prover, shared, source).await;
                }
            }
            () = sleep_until(look_again_at) => {
                look_again(prover, shared).await;
                look_again_at = Instant::now() + LOOK_AGAIN;
            }
        }
    }
}

/// Keeps the broker's endpoints of sources that this agent does not follow: it may have followed them before.
fn keep_what_is_not_followed(prover: &Prover, shared: &Shared) {
    shared.update(|state| {
        for source in SourceKind::ALL.into_iter().filter(|source| !prover.sources.contains(source))
        {
            for (object, keys) in candidates(state, source) {
                let standing =
                    EntryState::Unseen(format!("{source} is not among the sources of this agent"));
                kept(&object, keys, &standing).for_each(|kept| state.index.keep(kept));
            }
        }
        Vec::new()
    });
}

async fn prove(prover: &Prover, shared: &Shared, source: SourceKind) {
    let open = shared.read(|state| candidates(state, source));
    let (mut all_kept, mut gone) = (Vec::new(), Vec::new());
    for (object, keys) in open {
        let found = if shared.read(|state| state.index.is_no_such_kind(source)) {
            let full_name = resource_of(source).full_name();
            all_kept.extend(kept(
                &object,
                keys,
                &EntryState::Orphaned(format!("the cluster has no {full_name}")),
            ));
            continue;
        } else {
            find(prover, &object).await
        };
        if matches!(found, Found::Gone) {
            gone.push((object, keys));
            sleep(PAUSE).await;
            continue;
        }
        for (key, version) in keys {
            if let Judgement::Kept(standing) = judge(&found, &key) {
                all_kept.push(Kept { key, version, object: object.clone(), standing });
            }
        }
        sleep(PAUSE).await;
    }
    if !gone.is_empty()
        && let Err(standing) = outlasted_by_its_kind(prover, source).await
    {
        all_kept.extend(
            gone.into_iter()
                .flat_map(|(object, keys)| kept(&object, keys, &standing).collect::<Vec<_>>()),
        );
    }
    for kept in &all_kept {
        let reason = kept.standing.kept_because().unwrap_or_default();
        tracing::warn!(endpoint = %kept.key, reason, "an endpoint is kept at the broker although no object asks for it");
    }
    shared.update(|state| state.index.prove(source, all_kept));
    // The receiver is gone only while the agent stops.
    let _ = prover.to.send(((Followed::Objects(source), 0), News::Proven)).await;
}

/// An unseen object may have been deleted since, without an event for this agent; a look-up that failed may succeed now.
async fn look_again(prover: &Prover, shared: &Shared) {
    let unseen = shared.read(|state| unseen(&state.index, &prover.sources));
    let mut gone: BTreeMap<SourceKind, Vec<ObjectRef>> = BTreeMap::new();
    for object in unseen {
        match find(prover, &object).await {
            Found::Gone => gone.entry(object.source).or_default().push(object),
            found @ Found::There(_) => {
                let is_gone = |key: &EndpointKey| judge(&found, key) == Judgement::Withdrawn;
                shared.update(|state| {
                    state.index.withdraw_unseen(&object, DelCause::HostRemoved, is_gone)
                });
            }
            Found::Unknown(_) => {}
        }
        sleep(PAUSE).await;
    }
    for (source, objects) in gone {
        if outlasted_by_its_kind(prover, source).await.is_ok() {
            shared.update(|state| {
                let withdraw =
                    |object| state.index.withdraw_unseen(object, DelCause::ObjectDeleted, |_| true);
                objects.iter().flat_map(withdraw).collect()
            });
        }
    }
}

/// Whether a kind is still there when its removal would be known: objects that went with it were not deleted. Returns how
/// they are kept if not.
async fn outlasted_by_its_kind(prover: &Prover, source: SourceKind) -> Result<(), EntryState> {
    let resource = resource_of(source);
    if resource.origin == Origin::BuiltIn {
        return Ok(());
    }
    sleep(DELETION_GRACE).await;
    match presence(&prover.client, &resource).await {
        Ok(Presence::Served(_)) => Ok(()),
        Ok(Presence::Terminating | Presence::Missing) => Err(EntryState::Orphaned(format!(
            "{} were removed from the cluster with all their objects",
            resource.full_name()
        ))),
        Err(reason) => Err(EntryState::Unseen(format!("its object cannot be looked up: {reason}"))),
    }
}

fn unseen(index: &Index, sources: &[SourceKind]) -> BTreeSet<ObjectRef> {
    let is_open = |held: &&crate::agent::index::IndexEntry| {
        matches!(held.standing, EntryState::Unseen(_)) && sources.contains(&held.object.source)
    };
    index.iter().map(|(_, held)| held).filter(is_open).map(|held| held.object.clone()).collect()
}

/// Endpoints of a source that the broker holds and nothing here asks for.
fn candidates(state: &State, source: SourceKind) -> Candidates {
    let mut found = Candidates::new();
    for status in state.statuses.iter() {
        let Some(key) =
            status.key.clone().map(EndpointKey::from).filter(|key| key.source == source.as_str())
        else {
            continue;
        };
        let Ok(version) = <[u8; 32]>::try_from(status.version.as_ref()) else { continue };
        let hash = key.hash();
        // A key in the outbox was observed in this life.
        if state.index.get(&hash).is_none()
            && !state.publisher.holds(&hash)
            && let Some(object) = ObjectRef::of(&key)
        {
            found.entry(object).or_default().push((key, Version(version)));
        }
    }
    found
}

fn kept(
    object: &ObjectRef,
    keys: Vec<(EndpointKey, Version)>,
    standing: &EntryState,
) -> impl Iterator<Item = Kept> {
    keys.into_iter().map(move |(key, version)| Kept {
        key,
        version,
        object: object.clone(),
        standing: standing.clone(),
    })
}

async fn find(prover: &Prover, object: &ObjectRef) -> Found {
    let resource = resource_of(object.source);
    let version = match presence(&prover.client, &resource).await {
        Ok(Presence::Served(version)) => version,
        Ok(Presence::Terminating | Presence::Missing) => {
            return Found::Unknown(format!("the cluster has no {} now", resource.full_name()));
        }
        Err(reason) => return Found::Unknown(reason),
    };
    match look_up(&prover.client, &resource, version, &object.namespace, &object.name).await {
        Ok(Some(document)) => {
            Found::There(Box::new(Seen::read(&prover.reading, object.source, document)))
        }
        Ok(None) => Found::Gone,
        Err(reason) => Found::Unknown(reason),
    }
}

/// Judges an endpoint whose object is gone, could not be looked up, or is there.
fn judge(found: &Found, key: &EndpointKey) -> Judgement {
    let seen = match found {
        Found::Gone => return Judgement::Withdrawn,
        Found::Unknown(reason) => {
            return Judgement::Kept(EntryState::Unseen(format!(
                "its object cannot be looked up: {reason}"
            )));
        }
        Found::There(seen) => seen,
    };
    if let Some(reason) = &seen.refused {
        return Judgement::Kept(EntryState::Unseen(format!(
            "its object is there, and this agent does not read it: {reason}"
        )));
    }
    if let Some(reason) = seen.unknown.reason_for(key, &[]) {
        return Judgement::Kept(EntryState::Waiting(reason.to_owned()));
    }
    // Under a meaningful word it may have been published otherwise.
    if let Some(reason) = seen.assumes.as_ref().filter(|_| seen.names.contains(&key.dns_name)) {
        return Judgement::Kept(EntryState::Waiting(reason.clone()));
    }
    if seen.keys.contains(key) {
        // It is on its way here. Whatever delays it is no deletion.
        return Judgement::Kept(EntryState::Unseen(
            "its object asks for it, and was not listed".to_owned(),
        ));
    }
    let hosts = named_for(seen, key);
    let is_read = hosts.iter().any(|host| seen.names.contains(*host));
    // The addresses of a reverse record are not the object's to name.
    let is_reverse = key.record_type == "PTR" && seen.keys.is_empty() && seen.may_mention("ptr");
    if is_read || !(is_reverse || hosts.iter().any(|host| seen.may_mention(host))) {
        return Judgement::Withdrawn;
    }
    Judgement::Kept(EntryState::Unseen(
        "its object names it, and this agent does not read it there: was a prefix or an option changed?".to_owned(),
    ))
}

/// The host names for whose sake a name may have been published: its own, and the one that it was made of, as
/// `_SERVICE._PROTOCOL.HOST` and `POD.HOST` are.
fn named_for<'a>(seen: &Seen, key: &'a EndpointKey) -> Vec<&'a str> {
    let host = key.dns_name.as_str();
    let parent = |name: &'a str| name.split_once('.').map(|(_, parent)| parent);
    let made_of = match key.record_type.as_str() {
        "SRV" => parent(host).and_then(parent),
        _ if seen.is_headless => parent(host),
        _ => None,
    };
    [host].into_iter().chain(made_of).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agent::kube::filter::Filter;

    fn document(annotation: &str, address: Option<&str>) -> Document {
        let ingress = address.map_or(json!([]), |ip| json!([{ "ip": ip }]));
        let document = json!({
            "metadata": {"namespace": "shop", "name": "web", "annotations": {annotation: "a.example.com"}},
            "spec": {"type": "LoadBalancer"},
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        serde_json::from_value(document).unwrap()
    }

    fn there(filter: Filter, document: Document) -> Found {
        let reading = Reading { filter, ..Reading::default() };
        Found::There(Box::new(Seen::read(&reading, SourceKind::Service, document)))
    }

    fn key(host: &str, record_type: &str) -> EndpointKey {
        EndpointKey {
            source: "service".into(),
            namespace: "shop".into(),
            object: "web".into(),
            dns_name: host.into(),
            record_type: record_type.into(),
            set_identifier: "".into(),
        }
    }

    fn judged(found: &Found, key: &EndpointKey) -> String {
        match judge(found, key) {
            Judgement::Withdrawn => "withdrawn".to_owned(),
            Judgement::Kept(EntryState::Waiting(_)) => "waiting".to_owned(),
            Judgement::Kept(EntryState::Unseen(_)) => "unseen".to_owned(),
            Judgement::Kept(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn only_what_is_proven_to_be_gone_is_withdrawn() {
        let ours = "external-dns.kubernetes.io/hostname";
        let (a, aaaa, b) =
            (key("a.example.com", "A"), key("a.example.com", "AAAA"), key("b.example.com", "A"));
        let (srv, other_srv) =
            (key("_web._tcp.a.example.com", "SRV"), key("_web._tcp.b.example.com", "SRV"));
        let (pod, reverse) =
            (key("web-0.a.example.com", "A"), key("1.2.0.192.in-addr.arpa", "PTR"));
        let addressed = || document(ours, Some("192.0.2.1"));
        let all = Filter::default;
        let read = there(all(), addressed());
        let unread = there(all(), document("corp.example/hostname", Some("192.0.2.1")));
        let without_address = there(all(), document(ours, None));
        let mut headless = document("corp.example/hostname", None);
        headless.spec = json!({"clusterIP": "None"});
        let headless = there(all(), headless);
        let mut with_reverse = document("corp.example/hostname", None);
        with_reverse
            .metadata
            .annotations
            .insert("corp.example/record-type".to_owned(), "ptr".to_owned());
        let with_reverse = there(all(), with_reverse);
        let mut labelled = addressed();
        labelled.metadata.labels.insert("team".to_owned(), "shop".to_owned());
        let team = |team: &str| Filter {
            labels: format!("team={team}").parse().ok(),
            ..Filter::default()
        };
        let among = |filter: Filter| there(filter, labelled.clone());
        for (what, found, key, expected) in [
            ("the object is gone", &Found::Gone, &a, "withdrawn"),
            ("nobody can say", &Found::Unknown("403".to_owned()), &a, "unseen"),
            ("the object points elsewhere now", &read, &aaaa, "withdrawn"),
            ("the object names another host now", &read, &b, "withdrawn"),
            ("its load balancer has no address", &without_address, &a, "waiting"),
            ("the prefix was changed", &unread, &a, "unseen"),
            ("and a port was published under it", &unread, &srv, "unseen"),
            ("the port was that of another host", &unread, &other_srv, "withdrawn"),
            ("the host is read and has no port any more", &read, &srv, "withdrawn"),
            ("and a pod was published under it", &headless, &pod, "unseen"),
            ("no pods are under what has an address of its own", &unread, &pod, "withdrawn"),
            ("and so were its addresses", &with_reverse, &reverse, "unseen"),
            ("the addresses are others now", &read, &reverse, "withdrawn"),
            ("the addresses are away for now", &without_address, &reverse, "waiting"),
            ("the list does not have it yet", &read, &a, "unseen"),
            ("the label filter was changed", &among(team("web")), &a, "unseen"),
            ("and the object points elsewhere now", &among(team("web")), &aaaa, "unseen"),
            ("the label filter lets it pass", &among(team("shop")), &aaaa, "withdrawn"),
            (
                "the namespace was left out",
                &among(Filter { namespaces: vec!["web".into()], ..all() }),
                &a,
                "unseen",
            ),
            (
                "the filter was changed",
                &among(Filter {
                    annotations: "!external-dns.kubernetes.io/hostname".parse().ok(),
                    ..all()
                }),
                &a,
                "unseen",
            ),
        ] {
            assert_eq!(judged(found, key), expected, "{what}");
        }
    }

    #[test]
    fn what_is_published_for_those_inside_is_looked_up_by_the_name_of_its_object() {
        let mut inside = key("a.example.com", "A");
        inside.object = "web/internal".into();
        let object = ObjectRef::of(&inside).unwrap();
        assert_eq!((object.source, object.name.as_str()), (SourceKind::Service, "web"));
        let mut document = document("external-dns.kubernetes.io/internal-hostname", None);
        document.spec = json!({"clusterIP": "10.0.0.1"});
        assert_eq!(judged(&there(Filter::default(), document.clone()), &inside), "unseen");
        let outside = key("a.example.com", "A");
        assert_eq!(judged(&there(Filter::default(), document), &outside), "withdrawn");
    }
}
