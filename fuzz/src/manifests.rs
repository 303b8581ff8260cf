//! Kubernetes YAML, from the bytes of a file to the endpoints and what the agent makes of them.

use arcstr::ArcStr;
use zonefold::agent::index::Index;
use zonefold::agent::manifests::documents::{self, Documents};
use zonefold::agent::sources::{
    ClusterIps, ExtractOptions, Extraction, SourceKind, Unknown, extract,
};
use zonefold::core::endpoint::digest::SetDigest;

/// The bytes are a file.
pub fn run(data: &[u8]) {
    let read = documents::read(data);
    check_places(&read, data);
    let origin = ArcStr::from("file.yaml");
    if read.objects.is_empty() {
        return;
    }
    for cluster_ips in [ClusterIps::InternalHostnames, ClusterIps::Publish] {
        let mut index = Index::new(SourceKind::ALL);
        for placed in &read.objects {
            let extraction = extract(&placed.object, ExtractOptions { cluster_ips });
            check_extraction(placed.object.reference().source, &extraction);
            let reference = placed.object.reference();
            index.apply(reference, &origin, extraction.clone());
            // The same once more says nothing, and neither does an object of which nothing can be told.
            assert_eq!(index.apply(reference, &origin, extraction), []);
            let silent = Extraction {
                unknown: Unknown::WholeObject("no status".to_owned()),
                ..Extraction::default()
            };
            assert_eq!(index.apply(reference, &origin, silent), []);
        }
        for placed in &read.objects {
            index.delete(placed.object.reference());
        }
        assert!(
            index.iter().next().is_none() && *index.digest() == SetDigest::default(),
            "nothing is left"
        );
    }
}

/// Every object and every error has a line of the file, in the order of the file.
fn check_places(read: &Documents, data: &[u8]) {
    let lines = 1
        + data.iter().filter(|octet| matches!(octet, b'\n' | b'\r')).count()
        + unicode_breaks(data);
    let in_file = |line: usize| (1..=lines + 1).contains(&line);
    assert!(read.objects.iter().all(|placed| in_file(placed.line)));
    assert!(read.objects.is_sorted_by_key(|placed| placed.line));
    for error in &read.errors {
        assert!(in_file(error.line) && error.document >= 1, "{error}, {lines} lines");
        assert!(!error.reason.is_empty() && error.reason.len() < 2_000);
    }
}

/// YAML 1.1 breaks lines at these as well.
fn unicode_breaks(data: &[u8]) -> usize {
    String::from_utf8_lossy(data).matches(['\u{85}', '\u{2028}', '\u{2029}']).count()
}

fn check_extraction(source: SourceKind, extraction: &Extraction) {
    let mut keys: Vec<_> = extraction.endpoints.iter().map(|endpoint| &endpoint.key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), extraction.endpoints.len(), "one endpoint a key");
    for endpoint in &extraction.endpoints {
        assert!(
            endpoint.key.source == source.as_str()
                && !endpoint.key.dns_name.is_empty()
                && !endpoint.targets.is_empty()
        );
        assert!(
            !endpoint.key.record_type.is_empty()
                && !endpoint.key.object.is_empty()
                && !endpoint.key.namespace.is_empty()
        );
    }
}
