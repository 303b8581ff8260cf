//! What was observed of the cluster, put into the index. A plain value with synchronous methods: news in, changes out.
//!
//! Objects are read when they come and not kept: what they want is in the index.

use std::collections::{BTreeMap, BTreeSet};

use arcstr::ArcStr;

use super::document::Document;
use super::feed::News;
use super::filter::Filter;
use super::resources::resource_of;
use crate::agent::index::{Index, IndexChange, Standing};
use crate::agent::sources::{ExtractOptions, Extraction, ObjectRef, SourceKind, Unknown, Warning, extract};

/// Where objects were read, for people.
const ORIGIN: ArcStr = arcstr::literal!("kubernetes");

/// What is followed: a kind of object, and the number of its scope.
pub type FeedId = (SourceKind, usize);

/// What the operator chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Which objects count.
    pub filter: Filter,
    /// How they are read.
    pub extract: ExtractOptions,
}

impl Reading {
    /// What an object wants. One that does not count wants nothing; one that cannot be understood keeps what it had.
    pub fn read(&self, source: SourceKind, document: Document) -> Extraction {
        if self.filter.refuses(source, &document).is_some() {
            return Extraction::default();
        }
        match document.into_object(source, &resource_of(source)) {
            Ok(object) => extract(&object, self.extract),
            Err(error) => {
                let reason = format!("{error}; what was published before stays");
                let warnings = vec![Warning { message: reason.clone() }];
                Extraction { unknown: Unknown::WholeObject(reason), warnings, ..Extraction::default() }
            }
        }
    }
}

#[derive(Default)]
struct Scope {
    namespace: Option<ArcStr>,
    /// The objects of the list that is being read.
    listing: Option<BTreeSet<ObjectRef>>,
    health: Health,
}

#[derive(Default, PartialEq, Eq)]
enum Health {
    #[default]
    Unread,
    Followed,
    Troubled(String),
    NoSuchKind(String),
}

/// Everything that is followed; see the module's page.
pub struct World {
    reading: Reading,
    scopes: BTreeMap<FeedId, Scope>,
}

impl World {
    /// A world of these kinds in which nothing was observed yet.
    pub fn new(sources: &[SourceKind], reading: Reading) -> Self {
        let namespaces = reading.filter.scopes();
        let scope = |namespace: &Option<ArcStr>| Scope { namespace: namespace.clone(), ..Scope::default() };
        let scopes = sources.iter().flat_map(|source| {
            namespaces.iter().enumerate().map(move |(number, namespace)| ((*source, number), scope(namespace)))
        });
        Self { scopes: scopes.collect(), reading }
    }

    /// What is to be followed, and in which namespace.
    pub fn feeds(&self) -> impl Iterator<Item = (FeedId, Option<ArcStr>)> {
        self.scopes.iter().map(|(id, scope)| (*id, scope.namespace.clone()))
    }

    /// Takes what was observed. Answers what it changes, and what people should look at.
    pub fn take(&mut self, index: &mut Index, id: FeedId, news: News) -> (Vec<IndexChange>, Vec<String>) {
        let Self { reading, scopes } = self;
        let Some(scope) = scopes.get_mut(&id) else { return (Vec::new(), Vec::new()) };
        let source = id.0;
        let mut changes = Vec::new();
        let mut said = Vec::new();
        let mut apply = |index: &mut Index, document: Document| {
            let object = document.reference(source);
            let extraction = reading.read(source, document);
            let known: BTreeSet<&String> = index.warnings_of(&object).iter().collect();
            let messages = extraction.warnings.iter().map(|warning| &warning.message);
            said.extend(messages.filter(|message| !known.contains(message)).map(|message| format!("{object}: {message}")));
            index.apply(&object, &ORIGIN, extraction)
        };
        match news {
            News::ListBegins => scope.listing = Some(BTreeSet::new()),
            News::Page(documents) => {
                for document in documents {
                    if let Some(listing) = &mut scope.listing {
                        listing.insert(document.reference(source));
                    }
                    changes.extend(apply(index, document));
                }
            }
            News::ListEnds => {
                if let Some(listing) = scope.listing.take() {
                    changes.extend(index.retain(source, scope.namespace.as_deref(), &listing));
                }
                scope.health = Health::Followed;
            }
            News::Resumed => scope.health = Health::Followed,
            News::Applied(document) => changes.extend(apply(index, *document)),
            News::Deleted(document) => changes.extend(index.delete(&document.reference(source))),
            News::Swept(document, reason) => index.lose_sight(&document.reference(source), Standing::Orphaned(reason)),
            News::NoSuchKind(reason) => {
                if scope.health != Health::NoSuchKind(reason.clone()) {
                    said.push(format!("{source}: {reason}"));
                }
                // The list of a kind that comes back lacks what went with it.
                index.lose_sight_of_all(source, scope.namespace.as_deref(), &Standing::Orphaned(reason.clone()));
                scope.health = Health::NoSuchKind(reason);
            }
            News::Trouble(reason) => {
                if scope.health != Health::Troubled(reason.clone()) {
                    said.push(format!("{source}: {reason}"));
                }
                scope.listing = None;
                scope.health = Health::Troubled(reason);
            }
        }
        self.report(index, source);
        (changes, said)
    }

    /// How the source does, which is as well as its worst scope.
    fn report(&self, index: &mut Index, source: SourceKind) {
        let of_source = || self.scopes.range((source, 0)..=(source, usize::MAX)).map(|(_, scope)| &scope.health);
        let troubled = of_source().find_map(|health| match health {
            Health::Troubled(reason) => Some(reason),
            _ => None,
        });
        let no_such_kind = of_source().find_map(|health| match health {
            Health::NoSuchKind(reason) => Some(reason),
            _ => None,
        });
        match (troubled, no_such_kind) {
            (Some(reason), _) => index.fail(source, reason.clone()),
            (None, Some(reason)) => index.no_such_kind(source, reason.clone()),
            (None, None) if of_source().all(|health| *health == Health::Followed) => index.complete(source),
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::endpoint::Endpoint;

    const SERVICE: FeedId = (SourceKind::Service, 0);
    const ENDPOINT: FeedId = (SourceKind::DnsEndpoint, 0);

    fn service(namespace: &str, name: &str, host: &str, address: &str) -> Document {
        let ingress = if address.is_empty() { json!([]) } else { json!([{ "ip": address }]) };
        serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": name, "annotations": {"external-dns.kubernetes.io/hostname": host}},
            "spec": {"type": "LoadBalancer"},
            "status": {"loadBalancer": {"ingress": ingress}},
        }))
        .unwrap()
    }

    fn endpoint(name: &str, host: &str) -> Document {
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"endpoints": [{"dnsName": host, "recordType": "A", "targets": ["192.0.2.1"]}]},
        }))
        .unwrap()
    }

    struct Stage {
        world: World,
        index: Index,
    }

    impl Stage {
        fn new(filter: Filter) -> Self {
            let sources = [SourceKind::Service, SourceKind::DnsEndpoint];
            let reading = Reading { filter, extract: ExtractOptions::default() };
            Self { world: World::new(&sources, reading), index: Index::new(sources) }
        }

        fn take(&mut self, id: FeedId, news: News) -> Vec<String> {
            self.world.take(&mut self.index, id, news).0.iter().map(said).collect()
        }

        fn list(&mut self, id: FeedId, documents: Vec<Document>) -> Vec<String> {
            self.take(id, News::ListBegins);
            let mut changes = self.take(id, News::Page(documents));
            changes.extend(self.take(id, News::ListEnds));
            changes
        }

        fn held(&self) -> Vec<(String, Standing)> {
            let view = |held: &crate::agent::index::Held| (held.endpoint.key.dns_name.to_string(), held.standing.clone());
            self.index.iter().map(|(_, held)| view(held)).collect()
        }

        fn is_synced(&self, source: SourceKind) -> bool {
            self.index.sources().iter().any(|health| health.kind == source && health.synced)
        }
    }

    fn said(change: &IndexChange) -> String {
        let targets = |endpoint: &Endpoint| endpoint.targets.join(",");
        match change {
            IndexChange::Put { endpoint, .. } => format!("put {} {}", endpoint.key.dns_name, targets(endpoint)),
            IndexChange::Del { key, cause, .. } => format!("del {} {cause:?}", key.dns_name),
        }
    }

    fn boxed(document: Document) -> Box<Document> {
        Box::new(document)
    }

    #[test]
    fn a_list_that_breaks_off_deletes_nothing() {
        let mut stage = Stage::new(Filter::default());
        let both =
            || vec![service("shop", "a", "a.example.com", "192.0.2.1"), service("shop", "b", "b.example.com", "192.0.2.1")];
        assert_eq!(stage.list(SERVICE, both()), ["put a.example.com 192.0.2.1", "put b.example.com 192.0.2.1"]);
        assert!(stage.is_synced(SourceKind::Service));
        stage.take(SERVICE, News::ListBegins);
        stage.take(SERVICE, News::Page(vec![service("shop", "a", "a.example.com", "192.0.2.1")]));
        assert!(stage.take(SERVICE, News::Trouble("410".to_owned())).is_empty());
        assert!(stage.take(SERVICE, News::ListEnds).is_empty(), "half a list is none");
        stage.take(SERVICE, News::Trouble("gone".to_owned()));
        assert!(!stage.is_synced(SourceKind::Service) && stage.held().len() == 2);
        assert_eq!(stage.list(SERVICE, both()[1..].to_vec()), ["del a.example.com ObjectDeleted"]);
        assert!(stage.is_synced(SourceKind::Service));
    }

    #[test]
    fn a_refusal_in_one_namespace_keeps_the_whole_source_from_being_complete() {
        let filter = Filter { namespaces: vec!["shop".into(), "web".into()], ..Filter::default() };
        let mut stage = Stage::new(filter);
        let (shop, web) = ((SourceKind::Service, 0), (SourceKind::Service, 1));
        stage.list(shop, vec![service("shop", "a", "a.example.com", "192.0.2.1")]);
        assert!(!stage.index.listed() && !stage.is_synced(SourceKind::Service));
        stage.list(web, vec![service("web", "b", "b.example.com", "192.0.2.1")]);
        assert!(stage.is_synced(SourceKind::Service));
        stage.take(web, News::Trouble("403".to_owned()));
        assert!(stage.list(shop, vec![service("shop", "a", "a.example.com", "192.0.2.1")]).is_empty(), "its own namespace only");
        assert!(!stage.is_synced(SourceKind::Service));
        stage.take(web, News::Resumed);
        assert!(stage.is_synced(SourceKind::Service));
    }

    #[test]
    fn an_address_that_went_away_is_waited_for() {
        let mut stage = Stage::new(Filter::default());
        stage.list(SERVICE, vec![service("shop", "a", "a.example.com", "192.0.2.1")]);
        assert!(stage.take(SERVICE, News::Applied(boxed(service("shop", "a", "a.example.com", "")))).is_empty());
        assert!(matches!(&stage.held()[..], [(host, Standing::Waiting(_))] if host == "a.example.com"));
        assert_eq!(
            stage.take(SERVICE, News::Applied(boxed(service("shop", "a", "a.example.com", "192.0.2.2")))),
            ["put a.example.com 192.0.2.2"]
        );
        assert_eq!(stage.held()[0].1, Standing::Wanted);
        stage.take(SERVICE, News::Applied(boxed(service("shop", "a", "a.example.com", ""))));
        assert_eq!(
            stage.take(SERVICE, News::Deleted(boxed(service("shop", "a", "a.example.com", "")))),
            ["del a.example.com ObjectDeleted"]
        );
    }

    #[test]
    fn what_went_with_its_kind_stays_until_it_is_deleted_by_itself_or_released() {
        let mut stage = Stage::new(Filter::default());
        let three = || ["a", "b", "c"].map(|name| endpoint(name, &format!("{name}.example.com"))).to_vec();
        stage.list(ENDPOINT, three());
        stage.take(ENDPOINT, News::Swept(boxed(endpoint("a", "a.example.com")), "removed".to_owned()));
        stage.take(ENDPOINT, News::NoSuchKind("removed".to_owned()));
        assert!(stage.held().iter().all(|(_, standing)| *standing == Standing::Orphaned("removed".to_owned())));
        assert!(!stage.is_synced(SourceKind::DnsEndpoint) && stage.held().len() == 3);
        assert!(stage.list(ENDPOINT, vec![]).is_empty(), "the kind is back, and empty");
        assert!(stage.is_synced(SourceKind::DnsEndpoint) && stage.held().len() == 3);
        assert!(stage.take(ENDPOINT, News::Applied(boxed(endpoint("a", "a.example.com")))).is_empty(), "as it was");
        assert_eq!(stage.held().iter().filter(|(_, standing)| *standing == Standing::Wanted).count(), 1);
        assert_eq!(
            stage.take(ENDPOINT, News::Deleted(boxed(endpoint("a", "a.example.com")))),
            ["del a.example.com ObjectDeleted"]
        );
        let released = stage.index.release(|held| held.object.name == "b");
        assert_eq!(released.iter().map(said).collect::<Vec<_>>(), ["del b.example.com Released"]);
        assert_eq!(stage.held().len(), 1);
    }

    #[test]
    fn an_object_that_cannot_be_understood_keeps_what_it_had() {
        let mut stage = Stage::new(Filter::default());
        stage.list(ENDPOINT, vec![endpoint("a", "a.example.com")]);
        let mut broken = endpoint("a", "a.example.com");
        broken.spec = json!({"endpoints": 5});
        let (changes, said) = stage.world.take(&mut stage.index, ENDPOINT, News::Applied(boxed(broken.clone())));
        assert!(changes.is_empty() && said.len() == 1, "{said:?}");
        let (_, again) = stage.world.take(&mut stage.index, ENDPOINT, News::Applied(boxed(broken)));
        assert!(again.is_empty(), "said once");
        assert!(matches!(&stage.held()[..], [(_, Standing::Waiting(_))]));
    }

    #[test]
    fn an_object_that_leaves_the_filter_takes_its_names_along() {
        let selector = "external-dns.kubernetes.io/hostname".parse().unwrap();
        let mut stage = Stage::new(Filter { annotations: Some(selector), ..Filter::default() });
        stage.list(SERVICE, vec![service("shop", "a", "a.example.com", "192.0.2.1")]);
        let mut bare = service("shop", "a", "a.example.com", "192.0.2.1");
        bare.metadata.annotations.clear();
        assert_eq!(stage.take(SERVICE, News::Applied(boxed(bare))), ["del a.example.com HostRemoved"]);
    }
}
