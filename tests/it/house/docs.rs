//! The statements of the documents are true of the code.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use zonefold::cli::Cli;
use zonefold::config::Config;
use zonefold::core::endpoint::verdict::Reason;
use zonefold::ports::RefusedFor;

use crate::house::architecture::tree;

const PAGES: [&str; 13] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/aws.md",
    "docs/configuration.md",
    "docs/kubernetes.md",
    "docs/operations.md",
    "docs/people.md",
    "docs/protocol.md",
    "docs/quickstart-kubernetes.md",
    "docs/reliability.md",
    "docs/security.md",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The fenced blocks of a page in one language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let start = format!("```{language}\n");
    page.split(&start)
        .skip(1)
        .filter_map(|rest| rest.split_once("```").map(|(block, _)| block.to_owned()))
        .collect()
}

/// The texts between single back quotes.
fn quoted(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in page.lines() {
        found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    found
}

/// The keys of the configuration: the fields of all structs in src/config that are read from the file.
fn configuration_keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for source in tree::read(&root().join("src/config")).values() {
        let mut is_read = false;
        let (mut inside, mut is_skipped) = (false, false);
        for line in source.lines() {
            if line.trim() == "#[serde(skip)]" {
                is_skipped = true;
            } else if line.starts_with("#[derive(") {
                is_read = line.contains("Deserialize");
            } else if line.starts_with("pub struct ") {
                inside = is_read && line.ends_with('{');
            } else if line.starts_with('}') {
                inside = false;
            } else if let Some((name, _)) =
                line.strip_prefix("    pub ").and_then(|field| field.split_once(": "))
                && inside
                && !std::mem::take(&mut is_skipped)
            {
                keys.insert(name.to_owned());
            }
        }
    }
    keys
}

#[test]
fn every_key_of_the_configuration_is_described_and_no_other() {
    let page = text_of("docs/configuration.md");
    let keys = configuration_keys();
    assert!(
        keys.len() > 35 && keys.contains("attempt_timeout_secs"),
        "the fields were not found: {keys:?}"
    );
    let last =
        |path: &str| path.rsplit('.').next().unwrap_or(path).trim_end_matches("[]").to_owned();
    let described: BTreeSet<String> = quoted(&page).iter().map(|path| last(path)).collect();
    let missing: Vec<&String> = keys.iter().filter(|key| !described.contains(*key)).collect();
    assert!(missing.is_empty(), "docs/configuration.md does not describe {missing:?}");
    // The first column of the tables of keys.
    let sections = page.split("## The top").nth(1).unwrap().split("## The agent").next().unwrap();
    let first_column =
        sections.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let unknown: Vec<&str> =
        first_column.filter(|path| !path.starts_with('"') && !keys.contains(&last(path))).collect();
    let unknown: Vec<&str> = unknown.into_iter().filter(|path| *path != "legacy").collect();
    assert!(
        unknown.is_empty(),
        "docs/configuration.md describes keys that do not exist: {unknown:?}"
    );
}

#[test]
fn every_example_of_the_configuration_is_taken() {
    let mut examples = blocks(&text_of("docs/configuration.md"), "yaml");
    // Those of the other page that are not of a pod.
    examples.extend(
        blocks(&text_of("docs/security.md"), "yaml")
            .into_iter()
            .filter(|example| example.starts_with("listen:")),
    );
    examples.extend(blocks(&text_of("docs/people.md"), "yaml"));
    assert!(examples.len() >= 4);
    for example in examples {
        Config::parse(&example, "an example").unwrap_or_else(|error| panic!("{error}\n{example}"));
    }
}

#[test]
fn every_option_and_its_variable_are_described() {
    let page = text_of("docs/configuration.md");
    for role in ["broker", "agent"] {
        let cli = Cli::command();
        let command = cli.find_subcommand(role).unwrap();
        for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
            let option = format!("`--{}", argument.get_long().unwrap());
            assert!(
                page.contains(&option),
                "docs/configuration.md does not describe {option} of zonefold {role}"
            );
            let variable = argument.get_env().unwrap().to_str().unwrap();
            assert!(
                page.contains(&format!("`{variable}`")),
                "docs/configuration.md does not describe {variable}"
            );
        }
    }
}

#[test]
fn every_reason_is_described_with_a_verdict_and_no_other() {
    let page = text_of("docs/protocol.md");
    let table: Vec<Vec<&str>> = page
        .split("## Reasons")
        .nth(1)
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    let described: BTreeSet<&str> = table.iter().map(|row| row[1]).collect();
    let source = text_of("src/core/endpoint/verdict.rs");
    let reasons: BTreeSet<&str> = source
        .lines()
        .filter_map(|line| {
            line.trim().strip_prefix("Self::")?.split_once(" => \"")?.1.strip_suffix("\",")
        })
        .collect();
    assert!(reasons.contains(Reason::NameHeld.as_str()), "the reasons were not found");
    assert_eq!(described, reasons);
    assert!(table.iter().all(|row| ["accepted", "waiting", "rejected"].contains(&row[2])));
}

#[test]
fn every_refusal_is_described_and_no_other() {
    let page = text_of("docs/security.md");
    let table = page.split("## Refusals").nth(1).unwrap().split("## ").next().unwrap();
    let described: BTreeSet<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let source = text_of("src/ports/callers.rs") + &text_of("src/broker/ingest/admission.rs");
    let is_reason =
        |word: &&str| word.len() > 6 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let reasons: BTreeSet<&str> = source.split('"').filter(is_reason).collect();
    assert!(
        reasons.contains(RefusedFor::OtherCluster.as_str())
            && reasons.contains("OTHER_KUBE_SYSTEM_UID"),
        "{reasons:?}"
    );
    assert_eq!(described, reasons);
}

#[test]
fn every_metric_is_described_and_no_other() {
    let page = text_of("docs/operations.md");
    let described: BTreeSet<String> = quoted(&page)
        .into_iter()
        .filter(|word| word.starts_with("zonefold_"))
        .map(|word| {
            word.split(' ').next().unwrap_or_default().trim_end_matches("_total").to_owned()
        })
        .collect();
    let mut registered = BTreeSet::new();
    for (path, calls, prefix) in [
        ("src/broker/metrics.rs", &["registry.register("][..], ""),
        ("src/broker/usage.rs", &["figure("][..], ""),
        ("src/adapters/tls/metrics.rs", &["registry.register("][..], ""),
        ("src/broker/notices/metrics.rs", &["registry.register("][..], ""),
        ("src/agent/http.rs", &["registry.register(", "gauge("][..], "zonefold_agent_"),
    ] {
        let source = text_of(path);
        for call in calls {
            for rest in source.split(call).skip(1) {
                let name =
                    rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                registered.extend(name.map(|name| format!("{prefix}{name}")));
            }
        }
    }
    assert!(registered.len() > 20, "{registered:?}");
    assert_eq!(described, registered);
}

#[test]
fn every_command_in_the_documents_is_one() {
    let makefile = text_of("Makefile");
    for page in PAGES {
        let text = text_of(page);
        let is_walked = page == "docs/quickstart-kubernetes.md";
        for block in blocks(&text, "sh").iter().filter(|_| !is_walked) {
            for line in block.lines().map(|line| line.split(" #").next().unwrap_or(line).trim()) {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words.as_slice() {
                    ["zonefold", ..] => drop(
                        Cli::try_parse_from(&words)
                            .unwrap_or_else(|error| panic!("{page}: {line}: {error}")),
                    ),
                    ["make", target] => {
                        assert!(
                            makefile.lines().any(|rule| rule.starts_with(&format!("{target}:"))),
                            "{page}: {line}: no such target"
                        )
                    }
                    // The unit tests of the benchmarks read these.
                    ["zonefold-bench", ..] => {}
                    ["dig" | "sed", ..] | [] => {}
                    other => panic!("{page}: nobody checks {other:?}"),
                }
            }
        }
        for command in quoted(&text).iter().filter(|words| words.starts_with("zonefold ")) {
            let name = command.split(' ').nth(1).unwrap().trim_end_matches(',');
            assert!(Cli::command().find_subcommand(name).is_some(), "{page}: {command}");
        }
    }
}

/// The part that a newcomer sees without scrolling.
#[test]
fn the_first_screen_of_the_readme_names_how_to_run_and_how_to_test() {
    let readme = text_of("README.md");
    let first_screen: String = readme.lines().take(40).collect::<Vec<_>>().join("\n");
    let commands = blocks(&format!("{first_screen}\n```"), "sh").concat();
    for command in ["make dev", "make test"] {
        assert!(commands.lines().any(|line| line.starts_with(command)), "{command}: {commands}");
    }
}

/// Packages come from where the machine is configured to get them, and from nowhere else.
#[test]
fn the_setup_of_the_tests_names_no_host() {
    for path in ["tests/setup.sh", "Makefile", "CONTRIBUTING.md", "fuzz/run.sh"] {
        let text = text_of(path);
        let named = text.split("://").skip(1).map(|rest| rest.chars().take(30).collect::<String>());
        assert_eq!(named.collect::<Vec<_>>(), [""; 0], "{path}");
    }
}

/// Agents, replicas and people reach the API with tokens, and what changes is read again.
#[test]
fn the_pages_say_of_the_api_and_of_accounts_what_the_code_does() {
    let operations = text_of("docs/operations.md");
    assert!(!operations.contains("no authentication"));
    assert!(operations.contains("security.md#who-may-use-the-api"));
    let waits = text_of("docs/configuration.md");
    let waits = waits.split("What waits for the next").nth(1).unwrap();
    assert!(!waits.split("\n\n").next().unwrap().contains("account"));
}

#[test]
fn the_edit_of_the_readme_changes_an_example() {
    let readme = text_of("README.md");
    let edit = readme.lines().find_map(|line| line.strip_prefix("sed -i 's/")).unwrap();
    let (from, rest) = edit.split_once('/').unwrap();
    let file = rest.rsplit(' ').next().unwrap();
    let name = readme.split("+short ").nth(1).unwrap().split_whitespace().next().unwrap();
    let example = text_of(file);
    assert!(
        example.contains(from) && example.contains(name),
        "{file} holds neither {from} nor {name}"
    );
    let others = tree_of_examples()
        .into_iter()
        .filter(|(path, text)| !path.ends_with(file) && text.contains(name))
        .count();
    assert_eq!(others, 0, "another cluster wants {name} as well");
}

fn tree_of_examples() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for cluster in std::fs::read_dir(root().join("examples/clusters")).unwrap() {
        for file in std::fs::read_dir(cluster.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            found.push((path.clone(), std::fs::read_to_string(path).unwrap()));
        }
    }
    found
}

#[test]
fn every_link_leads_somewhere() {
    let anchor = |heading: &str| {
        let kept: String = heading
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .collect();
        kept.trim().replace(' ', "-")
    };
    for page in PAGES {
        let folder = PathBuf::from(page).parent().unwrap().to_owned();
        for link in
            text_of(page).split("](").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned())
        {
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link
                .split_once('#')
                .map_or((link.as_str(), None), |(file, heading)| (file, Some(heading)));
            let path = root().join(&folder).join(file);
            assert!(path.exists(), "{page} links to {link}");
            if let Some(heading) = heading {
                let headings = std::fs::read_to_string(&path).unwrap();
                let found = headings.lines().any(|line| {
                    line.starts_with('#') && anchor(line.trim_start_matches('#')) == heading
                });
                assert!(found, "{page} links to {link}, and there is no such heading");
            }
        }
    }
}

/// The page of faults: each test that it names is there.
#[test]
fn the_page_of_faults_names_tests_that_exist() {
    let page = text_of("docs/reliability.md");
    let sources = tree::read(&root().join("tests"));
    let named: Vec<String> =
        quoted(&page).into_iter().filter(|word| word.matches('_').count() >= 5).collect();
    assert!(named.len() > 8, "the table was not found: {named:?}");
    for name in named {
        assert!(
            sources.values().any(|source| source.contains(&format!("fn {name}("))),
            "there is no test {name}"
        );
    }
}

#[test]
fn the_architecture_names_tests_and_files_that_exist() {
    let page = text_of("ARCHITECTURE.md");
    let mut sources = tree::read(&root().join("src"));
    sources.extend(tree::read(&root().join("tests")));
    let invariants = page.split("## Invariants").nth(1).unwrap();
    for name in quoted(invariants).iter().filter(|name| name.matches('_').count() >= 2) {
        let function = format!("fn {name}(");
        let in_proptest = format!("fn {name}(\n");
        assert!(
            sources
                .values()
                .any(|source| source.contains(&function) || source.contains(&in_proptest)),
            "ARCHITECTURE.md names the test {name}, which is not there"
        );
    }
    let way = page.split("## The rooms").next().unwrap();
    for path in quoted(way).iter().filter(|path| path.contains('/')) {
        let exists = root().join("src").join(path.split(':').next().unwrap()).exists();
        assert!(exists, "ARCHITECTURE.md names src/{path}, which is not there");
    }
}

#[test]
fn the_architecture_shows_the_table_of_rooms() {
    let page = text_of("ARCHITECTURE.md");
    let shown: Vec<(String, BTreeSet<String>)> = page
        .split("## The rooms")
        .nth(1)
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            (
                cells[1].trim_matches('`').to_owned(),
                cells[3].split(", ").map(str::to_owned).collect(),
            )
        })
        .collect();
    for (room, allowed) in crate::house::architecture::ROOMS {
        let (_, cells) = shown
            .iter()
            .find(|(name, _)| name == room)
            .unwrap_or_else(|| panic!("the room {room} is not shown"));
        let wanted: BTreeSet<String> = match (room, allowed.is_empty()) {
            ("app", _) => ["all of the above".to_owned()].into(),
            (_, true) => ["nothing of ours".to_owned()].into(),
            (_, false) => allowed.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(*cells, wanted, "{room}");
    }
    assert_eq!(shown.len(), crate::house::architecture::ROOMS.len());
}
