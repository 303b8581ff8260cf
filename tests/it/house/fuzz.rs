//! The fuzz targets over the committed corpus and over their seeds: what was once found stays found, and a change that a
//! target does not compile with is seen before the next fuzzing.

use std::hash::{DefaultHasher, Hasher as _};
use std::path::PathBuf;

#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use targets::{TARGETS, seeds};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_input_of_the_committed_corpus_keeps_the_properties_of_its_target() {
    for (name, run) in TARGETS {
        let folder = root().join("fuzz/corpus").join(name);
        let mut count = 0;
        for file in std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = file.unwrap().path();
            println!("{}", path.display());
            run(&std::fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count >= 4, "{name} has {count} inputs: run fuzz/run.sh seed");
    }
}

#[test]
fn every_target_has_seeds_and_its_own_program() {
    let seeds = seeds::all(&root()).unwrap();
    assert_eq!(seeds.keys().copied().collect::<Vec<_>>(), TARGETS.map(|(name, _)| name));
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for (name, run) in TARGETS {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "fuzz/Cargo.toml lacks {name}"
        );
        assert!(root().join(format!("fuzz/fuzz_targets/{name}.rs")).exists());
        assert!(seeds[name].len() >= 4, "{name}");
        seeds[name].iter().for_each(|seed| run(seed));
    }
}

#[test]
#[ignore = "it writes into the sources: fuzz/run.sh seed"]
fn the_seeds_are_written() {
    for (target, seeds) in seeds::all(&root()).unwrap() {
        let folder = root().join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&folder).unwrap();
        for seed in &seeds {
            let mut hasher = DefaultHasher::new();
            hasher.write(seed);
            std::fs::write(folder.join(format!("seed-{:016x}", hasher.finish())), seed).unwrap();
        }
    }
}
