//! The allowed imports. The table is the one of `ARCHITECTURE.md`.

pub mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tree::{Import, Sources};

/// The rooms, and what each may import besides itself. A room that is not here may not exist.
pub const ROOMS: [(&str, &[&str]); 13] = [
    ("core", &[]),
    ("wire", &["core"]),
    ("ports", &["core"]),
    ("config", &["core"]),
    ("telemetry", &["core", "config"]),
    ("agent", &["core", "wire", "ports"]),
    ("broker", &["core", "wire", "ports"]),
    ("adapters", &["core", "ports"]),
    ("emulator", &["core", "ports"]),
    ("api", &["core", "ports", "broker"]),
    ("cli", &["core", "ports", "broker", "api", "config", "telemetry"]),
    (
        "app",
        &[
            "core",
            "wire",
            "ports",
            "config",
            "telemetry",
            "agent",
            "broker",
            "adapters",
            "emulator",
            "api",
            "cli",
        ],
    ),
    ("main", &["app", "cli"]),
];

/// The rooms whose folders are rooms themselves; below them no two rooms import each other in a circle.
const HOUSES: [&str; 3] = ["broker/worker", "broker", "core"];

/// A file has one subject; past this length it has two.
const MAX_LINES: usize = 600;

/// A function fits two screens; the bound only falls.
const MAX_FUNCTION_LINES: usize = 130;

/// The words that `core` may not contain, and why.
const IMPURE: [(&str, &str); 17] = [
    (r"\basync\b", "async"),
    (r"\bawait\b", "async"),
    (r"\btokio\b", "a runtime"),
    (r"\bfutures\b", "a runtime"),
    (r"\bSystemTime\b", "a clock"),
    (r"\bInstant\b", "a clock"),
    (r"\bTimestamp\s*::\s*now\b", "a clock"),
    (r"\bZoned\s*::\s*now\b", "a clock"),
    (r"\bstd\s*::\s*(env|fs|net\s*::\s*(Tcp|Udp)|process|thread|io)\b", "the outside world"),
    (r"\benv\s*!|\boption_env\s*!", "the environment"),
    (r"\be?println?\s*!|\bdbg\s*!", "output"),
    (r"\btracing\b|\blog\s*::", "logging"),
    (r"\bfastrand\b|\bgetrandom\b|\bRandomState\b", "randomness"),
    (r"\bnew_v4\b|\bnow_v7\b", "randomness"),
    (r"\bstatic\s+mut\b|\bthread_local\s*!", "a global"),
    (r"\bMutex\b|\bRwLock\b|\bAtomic[A-Z]\w*", "shared state"),
    (r"\bOnceLock\b|\bOnceCell\b", "a global"),
];

fn this_tree() -> Sources {
    tree::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

fn fake(files: &[(&str, &str)]) -> Sources {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

/// The first part of a file's path: its room.
fn room(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

fn upward_imports(sources: &Sources) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.into_iter().collect();
    let mut found = Vec::new();
    for Import { from, line, to, .. } in tree::imports(sources) {
        let (room_from, room_to) = (room(&from), room(&to));
        // The crate's root only declares the rooms.
        if room_from == room_to || room_from == "lib" {
            continue;
        }
        match allowed.get(room_from) {
            None => {
                found.push(format!("src/{from}:{line}: the room {room_from} is not in the table"))
            }
            Some(allowed) if allowed.contains(&room_to) => {}
            Some(_) => found.push(format!(
                "src/{from}:{line}: {room_from} may not import {room_to} (src/{to})"
            )),
        }
    }
    found
}

/// The arrows between files that count for circles. A file and the module that holds it are one subject, so what a file takes
/// from the latter does not count; neither do tests.
fn arrows(sources: &Sources) -> BTreeSet<(String, String)> {
    let takes_from_its_parent = |from: &str, to: &str| {
        let folder = to
            .strip_suffix("mod.rs")
            .map_or_else(|| format!("{}/", to.trim_end_matches(".rs")), str::to_owned);
        from.starts_with(&folder)
    };
    let counted = tree::imports(sources)
        .into_iter()
        .filter(|i| !i.in_test && !takes_from_its_parent(&i.from, &i.to));
    counted.map(|import| (import.from, import.to)).collect()
}

/// The room of a file inside a house: the folder, or the file itself where it stands at the house's root. `None` for files
/// elsewhere and for the file that wires the house.
fn inner_room<'a>(house: &str, file: &'a str) -> Option<&'a str> {
    let rest = file.strip_prefix(house)?.strip_prefix('/').filter(|rest| *rest != "mod.rs")?;
    let inner = rest.split('/').next()?;
    Some(&file[..house.len() + 1 + inner.len()])
}

/// The arrows between the rooms of a house.
fn inner_arrows(sources: &Sources, house: &str) -> BTreeSet<(String, String)> {
    let between = |(from, to): (String, String)| {
        let (from, to) = (inner_room(house, &from)?, inner_room(house, &to)?);
        (from != to).then(|| (from.to_owned(), to.to_owned()))
    };
    arrows(sources).into_iter().filter_map(between).collect()
}

/// The groups of files that import each other in a circle.
fn circles(arrows: &BTreeSet<(String, String)>) -> Vec<Vec<String>> {
    let mut targets: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in arrows {
        targets.entry(from).or_default().push(to);
    }
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        targets.keys().map(|file| (*file, reachable(file, &targets))).collect();
    let mut found = BTreeSet::new();
    for (file, reached) in reach.iter().filter(|(file, reached)| reached.contains(*file)) {
        let circle = reached
            .iter()
            .filter(|other| reach.get(*other).is_some_and(|back| back.contains(file)));
        found.insert(circle.map(|file| (*file).to_owned()).collect::<Vec<_>>());
    }
    found.into_iter().collect()
}

fn reachable<'a>(from: &str, targets: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = targets.get(from).into_iter().flatten().copied().collect();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(targets.get(next).into_iter().flatten());
        }
    }
    reached
}

fn impurities(sources: &Sources) -> Vec<String> {
    // Our regex has no Unicode tables.
    let compile = |rule: &str| regex::Regex::new(&format!("(?-u:{rule})")).unwrap();
    let rules: Vec<(regex::Regex, &str)> =
        IMPURE.iter().map(|(rule, what)| (compile(rule), *what)).collect();
    let mut found = Vec::new();
    for (file, code) in
        tree::code_without_tests(sources).iter().filter(|(file, _)| room(file) == "core")
    {
        for (index, line) in code.lines().enumerate() {
            for (rule, what) in &rules {
                if let Some(hit) = rule.find(line) {
                    found.push(format!(
                        "src/{file}:{}: core, which is pure, holds {what}: {}",
                        index + 1,
                        hit.as_str()
                    ));
                }
            }
        }
    }
    found
}

fn too_long(sources: &Sources) -> Vec<String> {
    let long = sources.iter().filter(|(_, text)| text.lines().count() >= MAX_LINES);
    long.map(|(file, text)| {
        format!("src/{file} has {} lines: split it by subject", text.lines().count())
    })
    .collect()
}

/// The functions of the shipped code with their lines, from `fn` to the last brace; the longest first.
fn functions(sources: &Sources) -> Vec<(usize, String)> {
    let name = regex::Regex::new(r"(?-u:\bfn\s+(\w+))").unwrap();
    let mut found = vec![];
    for (file, code) in tree::code_without_tests(sources) {
        for hit in name.captures_iter(&code) {
            let (start, rest) = (hit.get(0).unwrap().start(), &code[hit.get(0).unwrap().end()..]);
            let Some(length) = body_length(rest) else { continue };
            let lines = code[start..code.len() - rest.len() + length].lines().count();
            found.push((lines, format!("{file}: {}", &hit[1])));
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    found
}

/// Where the body of a function ends that begins with its signature; `None` for one without a body.
fn body_length(signature: &str) -> Option<usize> {
    let (mut braces, mut brackets) = (0, 0);
    for (at, c) in signature.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' if braces == 1 => return Some(at + 1),
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

#[test]
fn functions_are_short_and_the_longest_are_known() {
    for folder in ["src", "bench"] {
        let sources = tree::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        let functions = functions(&sources);
        let longest_file =
            sources.iter().map(|(file, text)| (text.lines().count(), file)).max().unwrap();
        println!("{folder}: the longest file {longest_file:?}, functions {:?}", &functions[..10]);
        assert!(functions.len() > 100, "{} functions were found", functions.len());
        assert!(functions[0].0 <= MAX_FUNCTION_LINES, "split {:?}", functions[0]);
    }
}

#[test]
fn the_lines_of_a_function_are_counted_from_its_name_to_its_last_brace() {
    let text = "fn hash() -> [u8; 2] {\n    if true { [0; 2] } else {\n [1; 2] }\n}\n\
                trait A { fn declared(&self); fn one(&self) {} }\n\
                #[cfg(test)]\nmod tests { fn long() {\n\n\n\n\n\n} }\n";
    let found = functions(&fake(&[("a.rs", text)]));
    assert_eq!(found, [(4, "a.rs: hash".to_owned()), (1, "a.rs: one".to_owned())]);
}

#[test]
fn no_file_imports_upward() {
    let found = upward_imports(&this_tree());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_rooms_are_in_order() {
    let order: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    for (at, (room, allowed)) in ROOMS.iter().enumerate() {
        for below in *allowed {
            let place = order.iter().position(|known| known == below);
            assert!(
                place.is_some_and(|place| place < at),
                "{room} imports {below}, which does not stand before it"
            );
        }
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let found = circles(&arrows(&this_tree()));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_rooms_of_a_house_import_each_other_in_a_circle() {
    let sources = this_tree();
    for house in HOUSES {
        let arrows = inner_arrows(&sources, house);
        let rooms: BTreeSet<&str> =
            sources.keys().filter_map(|file| inner_room(house, file)).collect();
        println!("{house}: {} rooms, {} arrows", rooms.len(), arrows.len());
        let found = circles(&arrows);
        assert!(found.is_empty(), "{house}: {found:#?}\n{arrows:#?}");
    }
}

#[test]
fn core_is_pure() {
    let found = impurities(&this_tree());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_file_has_one_subject_and_is_short() {
    let found = too_long(&this_tree());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The items that they need of the library are public there: the compiler sees to that.
#[test]
fn the_benchmarks_have_short_files_too_and_no_circle() {
    let bench = tree::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("bench"));
    assert!(arrows(&bench).contains(&("bounds.rs".to_owned(), "site.rs".to_owned())));
    assert_eq!(circles(&arrows(&bench)), Vec::<Vec<String>>::new());
    assert_eq!(too_long(&bench), Vec::<String>::new());
}

#[test]
fn the_reader_sees_the_whole_tree() {
    let sources = this_tree();
    let imports = tree::imports(&sources);
    assert!(
        sources.len() > 80 && imports.len() > 300,
        "{} files, {} imports",
        sources.len(),
        imports.len()
    );
    let seen = |from: &str, to: &str| {
        imports.iter().any(|import| import.from == from && import.to == to && !import.in_test)
    };
    assert!(seen("core/planning/plan.rs", "core/dns/record.rs"));
    assert!(seen("adapters/route53/credentials.rs", "ports/mod.rs"));
    assert!(
        imports.iter().any(|import| import.from == "core/planning/plan_tests.rs" && import.in_test)
    );
}

#[test]
fn an_import_upward_is_found_however_it_is_written() {
    for text in [
        "use crate::adapters::store;",
        "use crate::{core::name, adapters::store::Sqlite};",
        "use super::super::adapters::store::Sqlite;",
        "fn open() { crate::adapters::store::open() }",
        "mod inner { use super::super::super::adapters::store::*; }",
        "#[cfg(test)] mod tests { use crate::adapters::store; }",
        "use crate::{\n    ports,\n    adapters::{\n        store::{self, Sqlite},\n    },\n};",
    ] {
        let sources = fake(&[
            ("lib.rs", "pub mod adapters; pub mod broker; pub mod core; pub mod ports;"),
            ("adapters/mod.rs", "pub mod store;"),
            ("adapters/store.rs", "use crate::core::name::DnsName;"),
            ("broker/mod.rs", "mod worker;"),
            ("broker/worker.rs", text),
            ("core/mod.rs", "pub mod name;"),
            ("core/name.rs", ""),
            ("ports/mod.rs", "use crate::core::name::DnsName;"),
        ]);
        let found = upward_imports(&sources);
        assert!(!found.is_empty(), "not found: {text}");
        assert!(
            found.iter().all(|found| found.contains("broker may not import adapters")),
            "{found:?}"
        );
    }
}

#[test]
fn an_arrow_downward_and_a_word_in_a_comment_are_no_finding() {
    let sources = fake(&[
        ("core/mod.rs", "pub mod name;"),
        (
            "core/name.rs",
            "// use crate::broker;\n/// [`crate::broker`]\nconst A: &str = \"crate::broker\"; fn a<'a>(b: &'a str) {}",
        ),
        (
            "broker/mod.rs",
            "use crate::core::name::{self, DnsName}; const Q: char = '\"'; use crate::ports::Store;",
        ),
        ("ports/mod.rs", "use crate::core::name;"),
    ]);
    assert_eq!(upward_imports(&sources), Vec::<String>::new());
    assert_eq!(circles(&arrows(&sources)), Vec::<Vec<String>>::new());
    assert_eq!(tree::imports(&sources).len(), 3);
}

#[test]
fn a_room_that_nobody_planned_is_found() {
    let sources = fake(&[("attic/mod.rs", "use crate::core::name;"), ("core/mod.rs", "")]);
    assert_eq!(
        upward_imports(&sources),
        ["src/attic/mod.rs:1: the room attic is not in the table"]
    );
}

#[test]
fn a_circle_of_files_is_found_and_a_parent_with_its_children_is_none() {
    let mut files = vec![
        ("core/mod.rs", "pub mod a; pub mod b; pub mod c; use a::A; pub struct Whole;"),
        ("core/a.rs", "use super::b::B; use super::Whole;"),
        ("core/b.rs", "use super::c::C;"),
        ("core/c.rs", "use super::Whole; #[cfg(test)] mod tests { use crate::core::a::A; }"),
    ];
    assert_eq!(circles(&arrows(&fake(&files))), Vec::<Vec<String>>::new());
    files[3].1 = "fn c() -> super::a::A { todo!() }";
    assert_eq!(circles(&arrows(&fake(&files))), [["core/a.rs", "core/b.rs", "core/c.rs"]]);
}

#[test]
fn a_test_file_beside_its_subject_is_known_as_one() {
    let sources = fake(&[
        ("core/plan.rs", "#[cfg(test)]\n#[path = \"plan_tests.rs\"]\nmod tests;"),
        (
            "core/plan_tests.rs",
            "use super::*; use crate::core::testkit; fn now() { std::time::Instant::now(); }",
        ),
        ("core/testkit.rs", ""),
    ]);
    let from_tests: Vec<Import> = tree::imports(&sources);
    assert_eq!(
        from_tests.iter().map(|import| import.to.as_str()).collect::<Vec<_>>(),
        ["core/plan.rs", "core/testkit.rs"]
    );
    assert!(from_tests.iter().all(|import| import.in_test));
    assert_eq!(impurities(&sources), Vec::<String>::new());
}

#[test]
fn what_is_impure_is_found_outside_tests_only() {
    let sources = fake(&[
        ("core/mod.rs", "pub mod a; pub mod b;"),
        (
            "core/a.rs",
            "fn a() {}\npub fn now() -> u64 { std::time::SystemTime::now(); println!(\"x\") }\n",
        ),
        (
            "core/b.rs",
            "// SystemTime\n#[cfg(test)]\nfn helper() { std::fs::read(\"x\"); }\n#[cfg(test)]\nmod tests { use tokio::time; }\n",
        ),
        ("broker/mod.rs", "async fn a() { tokio::time::sleep(b).await }"),
    ]);
    assert_eq!(
        impurities(&sources),
        [
            "src/core/a.rs:2: core, which is pure, holds a clock: SystemTime",
            "src/core/a.rs:2: core, which is pure, holds output: println!"
        ]
    );
    let sources = fake(&[("core/a.rs", "#[cfg(test)]\nfn helper() {}\npub async fn a() {}\n")]);
    assert_eq!(impurities(&sources), ["src/core/a.rs:3: core, which is pure, holds async: async"]);
}

#[test]
fn a_long_file_is_found() {
    let sources =
        fake(&[("core/a.rs", &"\n".repeat(MAX_LINES)), ("core/b.rs", &"\n".repeat(MAX_LINES - 1))]);
    assert_eq!(
        too_long(&sources),
        [format!("src/core/a.rs has {MAX_LINES} lines: split it by subject")]
    );
}
