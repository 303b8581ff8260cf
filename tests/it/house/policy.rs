//! The rules of the house that the compiler does not know. Those about dependencies stand in `deny.toml` as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::house::architecture::tree;

/// The banned dependencies, with the versions below which they are banned.
const BANNED: [(&str, Option<(u64, u64)>); 11] = [
    ("openssl", None),
    ("openssl-sys", None),
    ("native-tls", None),
    ("aws-lc-rs", None),
    ("aws-lc-sys", None),
    ("aws-lc-fips-sys", None),
    ("reqwest", None),
    ("chrono", None),
    ("hyper", Some((1, 0))),
    ("h2", Some((0, 4))),
    ("rustls", Some((0, 23))),
];

/// Two of these in one process do not understand each other.
const SINGLE: [&str; 8] = ["hyper", "h2", "http", "rustls", "ring", "axum", "tonic", "prost"];

/// The folders compiled into programs: the library with the binary that is shipped, and the benchmarks.
const OURS: [&str; 2] = ["src", "bench"];

/// Files and folders that may start a task outside of a `JoinSet`, since they wait for it or end it themselves.
const SPAWNERS: [(&str, &str); 3] = [
    ("bench/", "a benchmark waits for its tasks or ends with them"),
    ("src/app/", "the composition root: every task is waited for or ended when its role ends"),
    ("src/emulator/mod.rs", "the handle that it returns waits for the task"),
];

struct Package {
    name: String,
    version: String,
    source: Option<String>,
    has_checksum: bool,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The sources of these folders, by their paths in the repository, each folder read by `read`.
fn sources_of(folders: &[&str], read: impl Fn(&tree::Sources) -> tree::Sources) -> tree::Sources {
    let sources = folders.iter().flat_map(|folder| {
        let files = read(&tree::read(&root().join(folder))).into_iter();
        files.map(move |(file, text)| (format!("{folder}/{file}"), text))
    });
    sources.collect()
}

fn without_literals(sources: &tree::Sources) -> tree::Sources {
    sources.iter().map(|(file, text)| (file.clone(), tree::blank_literals(text))).collect()
}

fn text_of(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn packages(lock: &str) -> Vec<Package> {
    let value = |block: &str, key: &str| {
        let start = format!("{key} = \"");
        block
            .lines()
            .find_map(|line| line.strip_prefix(&start)?.strip_suffix('"').map(str::to_owned))
    };
    lock.split("[[package]]")
        .skip(1)
        .map(|block| Package {
            name: value(block, "name").unwrap(),
            version: value(block, "version").unwrap(),
            source: value(block, "source"),
            has_checksum: value(block, "checksum").is_some(),
        })
        .collect()
}

fn banned(packages: &[Package]) -> Vec<String> {
    let older = |version: &str, least: (u64, u64)| {
        let mut numbers = version.split('.').map(|number| number.parse::<u64>().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < least
    };
    let is_banned = |package: &&Package| {
        BANNED.iter().any(|(name, least)| {
            *name == package.name && least.is_none_or(|least| older(&package.version, least))
        })
    };
    packages
        .iter()
        .filter(is_banned)
        .map(|package| format!("{} {}", package.name, package.version))
        .collect()
}

fn doubled(packages: &[Package]) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages.iter().filter(|package| SINGLE.contains(&package.name.as_str())) {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    versions
        .iter()
        .filter(|(_, found)| found.len() > 1)
        .map(|(name, found)| format!("{name}: {}", found.join(", ")))
        .collect()
}

/// The dependencies of a `Cargo.toml` that do not name a version of the registry, or name any.
fn unpinned(manifest: &str) -> Vec<&str> {
    let mut among_dependencies = false;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            among_dependencies = section.trim_end_matches(']').ends_with("dependencies");
        } else if among_dependencies && line.contains('=') && !line.starts_with('#') {
            let version = match line.split_once("version = \"") {
                Some((_, rest)) => rest,
                None => line.split_once("= \"").map_or("", |(_, rest)| rest),
            };
            let from_elsewhere = line.contains("git =") || line.contains("path =");
            if from_elsewhere || !version.starts_with(|c: char| c.is_ascii_digit()) {
                found.push(line);
            }
        }
    }
    found
}

fn lines_with(sources: &tree::Sources, found: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut hits = Vec::new();
    for (file, code) in sources {
        for (index, line) in code.lines().enumerate().filter(|(_, line)| found(file, line)) {
            hits.push(format!("{file}:{}: {}", index + 1, line.trim()));
        }
    }
    hits
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|found| found == word)
}

#[test]
fn no_banned_package_is_locked() {
    assert_eq!(banned(&packages(&text_of("Cargo.lock"))), Vec::<String>::new());
}

#[test]
fn what_must_be_one_is_locked_once() {
    let packages = packages(&text_of("Cargo.lock"));
    assert_eq!(doubled(&packages), Vec::<String>::new());
    for name in SINGLE {
        assert!(
            packages.iter().any(|package| package.name == name),
            "{name} is gone: take it off the list"
        );
    }
}

#[test]
fn the_lists_of_deny_toml_and_of_this_test_are_one() {
    let deny = text_of("deny.toml");
    for (name, least) in BANNED {
        let wanted = match least {
            None => format!("crate = \"{name}\""),
            Some((major, minor)) => {
                let version =
                    if minor == 0 { major.to_string() } else { format!("{major}.{minor}") };
                format!("crate = \"{name}:<{version}\"")
            }
        };
        assert!(deny.contains(&wanted), "deny.toml lacks {wanted}");
    }
    assert_eq!(deny.matches("{ crate = ").count(), BANNED.len());
}

#[test]
fn every_package_comes_from_the_registry_with_a_checksum() {
    let foreign: Vec<String> = packages(&text_of("Cargo.lock"))
        .into_iter()
        .filter(|package| package.name != env!("CARGO_PKG_NAME"))
        .filter(|package| {
            package.source.as_deref()
                != Some("registry+https://github.com/rust-lang/crates.io-index")
                || !package.has_checksum
        })
        .map(|package| package.name)
        .collect();
    assert_eq!(foreign, Vec::<String>::new());
}

#[test]
fn every_dependency_names_its_version() {
    assert_eq!(unpinned(&text_of("Cargo.toml")), Vec::<&str>::new());
}

/// The fuzzed code is the shipped code.
#[test]
fn the_fuzz_targets_lock_what_zonefold_locks() {
    const LIBFUZZER: [&str; 4] = ["zonefold-fuzz", "libfuzzer-sys", "arbitrary", "jobserver"];
    let named = |lock: &str| {
        packages(&text_of(lock)).into_iter().map(|package| (package.name, package.version))
    };
    let ours: BTreeSet<(String, String)> = named("Cargo.lock").collect();
    let others: Vec<_> = named("fuzz/Cargo.lock")
        .filter(|package| !LIBFUZZER.contains(&package.0.as_str()) && !ours.contains(package))
        .collect();
    assert_eq!(
        others,
        [],
        "run: cp Cargo.lock fuzz/ && cargo metadata --manifest-path fuzz/Cargo.toml"
    );
}

#[test]
fn a_bad_lock_file_is_seen() {
    let lock = ["hyper 0.14.32", "hyper 1.12.0", "chrono 0.4.40", "h2 0.3.26", "rustls 0.23.1"]
        .map(|package| package.split_once(' ').unwrap())
        .map(|(name, version)| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n"))
        .concat();
    let packages = packages(&lock);
    assert_eq!(banned(&packages), ["hyper 0.14.32", "chrono 0.4.40", "h2 0.3.26"]);
    assert_eq!(doubled(&packages), ["hyper: 0.14.32, 1.12.0"]);
    let manifest = "[dependencies]\na = \"1\"\nb = { version = \"2\", features = [\"x\"] }\nc = \"*\"\nd = { git = \"https://d\" }\n\
                    [profile.dev]\ndebug = \"line-tables-only\"\n";
    assert_eq!(unpinned(manifest), ["c = \"*\"", "d = { git = \"https://d\" }"]);
}

#[test]
fn a_lint_is_expected_with_a_reason_and_never_allowed() {
    let sources = sources_of(&OURS, Clone::clone);
    let code = without_literals(&sources);
    let allowed =
        lines_with(&code, |_, line| line.contains("#[allow(") || line.contains("#![allow("));
    assert!(allowed.is_empty(), "{}", allowed.join("\n"));
    let without_reason: Vec<&String> = sources
        .iter()
        .filter(|(_, text)| text.matches("#[expect(").count() > text.matches("reason = \"").count())
        .map(|(file, _)| file)
        .collect();
    assert!(without_reason.is_empty(), "an expected lint without its reason: {without_reason:?}");
}

#[test]
fn there_is_no_unsafe_code() {
    let code = sources_of(&OURS, without_literals);
    let found = lines_with(&code, |_, line| has_word(line, "unsafe"));
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(text_of("Cargo.toml").contains("unsafe_code = \"forbid\""));
}

#[test]
fn tasks_are_started_where_somebody_waits_for_them() {
    let code = sources_of(&OURS, tree::code_without_tests);
    let found = lines_with(&code, |file, line| {
        let starts = line.contains("tokio::spawn(")
            || line.contains("thread::spawn(")
            || line.contains("task::spawn(");
        // Files of tests alone lie in folders of that name.
        starts
            && !file.contains("/tests/")
            && !SPAWNERS.iter().any(|(known, _)| file.starts_with(known))
    });
    assert!(
        found.is_empty(),
        "use a JoinSet, or list the file with a reason:\n{}",
        found.join("\n")
    );
}

#[test]
fn no_unfinished_work_is_marked_in_the_texts() {
    let mut texts = sources_of(&["src", "bench", "tests"], Clone::clone);
    texts.remove("tests/it/house/policy.rs");
    let traces = ["TODO", "FIXME", "XXX "];
    let found = lines_with(&texts, |_, line| traces.iter().any(|trace| line.contains(trace)));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The files of the repository that are larger, by path; what git ignores is passed over.
fn large_files(folder: &Path, most_bytes: u64) -> Vec<PathBuf> {
    const NOT_OURS: [&str; 5] = ["target", ".git", ".cache", "zonefold-data", "artifacts"];
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
            found.extend(large_files(&entry.path(), most_bytes));
        } else if kind.is_file() && entry.metadata().unwrap().len() > most_bytes {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn nothing_large_lies_in_the_repository() {
    assert_eq!(
        large_files(&root(), 300_000),
        Vec::<PathBuf>::new(),
        "what is built or fetched belongs into .cache or target"
    );
    assert!(
        large_files(&root(), 100_000).contains(&root().join("Cargo.lock")),
        "they are looked at"
    );
}
