//! The example clusters are read without a complaint.

use std::path::Path;

use zonefold::agent::manifests::folder::Folder;
use zonefold::agent::sources::{ExtractOptions, SourceKind, Unknown, extract};

fn names(cluster: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clusters").join(cluster);
    let pass = Folder::default().pass(&root).unwrap();
    assert!(
        pass.errors.is_empty() && pass.duplicates.is_empty(),
        "{:?} {:?}",
        pass.errors,
        pass.duplicates
    );
    let mut names = Vec::new();
    for (reference, (_, placed)) in &pass.objects {
        let found = extract(&placed.object, ExtractOptions::default());
        assert!(found.warnings.is_empty(), "{reference}: {:?}", found.warnings);
        assert_eq!(found.unknown, Unknown::Nothing, "{reference}");
        names.extend(
            found
                .endpoints
                .iter()
                .map(|endpoint| format!("{} {}", endpoint.key.dns_name, endpoint.key.record_type)),
        );
    }
    names.sort();
    names
}

#[test]
fn two_clusters_want_one_name() {
    let (east, west) = (names("dev-east"), names("dev-west"));
    let both: Vec<_> = east.iter().filter(|name| west.contains(name)).collect();
    assert_eq!(both, ["app.dev.example.com A"]);
}

#[test]
fn the_examples_use_every_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clusters");
    let pass = Folder::default().pass(&root).unwrap();
    for source in SourceKind::IN_FOLDERS {
        assert!(pass.objects.keys().any(|object| object.source == source), "{source}");
    }
}

#[test]
fn one_example_lies_outside_every_zone() {
    let outside =
        |name: &&String| !name.contains("dev.example.com ") && !name.contains("prod.example.com ");
    let all: Vec<String> =
        ["dev-east", "dev-west", "prod-east"].into_iter().flat_map(names).collect();
    assert_eq!(all.iter().filter(outside).collect::<Vec<_>>(), ["shop.example.org A"]);
}
