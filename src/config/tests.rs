//! Accepted and refused configurations, and the messages about them.

use std::path::PathBuf;

use super::*;
use crate::core::dns::record::RecordType;
use crate::core::planning::policy::{AdoptPolicy, DriftPolicy, MergePolicy, ZonePolicy};
use crate::core::planning::record_types::RecordTypes;
use crate::core::visibility::Exposure;

const FULL: &str = r#"store: sqlite:./zonefold-data/broker.db
listen: { grpc: 127.0.0.1:7443, http: 127.0.0.1:7080 }
agents: { token_file: ./token }
environments: [ {name: dev}, {name: prod} ]
accounts:
  - id: "111111111111"
    name: dev-dns
    environment: dev
    partition: aws
    role_arn: arn:aws:iam::111111111111:role/zonefold
    external_id: zf-dev
    via_role_arn: null
    budget:
      profile: "2026"
      reserve_percent: 20
      requests: {capacity: 50, refill_per_second: 10}
      changes: {capacity: 1500, refill_per_second: 100}
      actions: { ListHostedZones: {capacity: 5, refill_per_second: 0.5} }
    zones:
      - { name: dev.example.com, id: null, tags: {team: dns}, visibility: public, policy: sync, drift: repair, adopt: identical, record_types: [A, TXT], merge: cluster, default_ttl_secs: 60 }
      - { name: "*.dev.example.com", policy: observe }
    discovery_interval_secs: 300
    drift_interval_secs: 600
clusters:
  - { name: dev-east, environment: dev, labels: {region: us-east-1}, visibility: public }
log: { format: json, filter: info }
"#;

fn problems(text: &str) -> Vec<Problem> {
    match Config::parse(text, "broker.yaml") {
        Err(ConfigError::Refused { problems, .. }) => problems,
        other => panic!("not refused: {other:?}"),
    }
}

/// The only problem of `FULL` with one piece of its text replaced.
fn problem_of(from: &str, to: &str) -> Problem {
    assert!(FULL.contains(from), "{from:?} is not in the text");
    let mut found = problems(&FULL.replacen(from, to, 1));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn line_of(text: &str) -> u64 {
    1 + FULL.lines().position(|line| line.contains(text)).unwrap() as u64
}

#[test]
fn a_whole_file_is_read_field_by_field() {
    let config = Config::parse(FULL, "broker.yaml").unwrap();
    let account = &config.accounts[0];
    assert_eq!(
        account.access().role_arn.unwrap().as_str(),
        "arn:aws:iam::111111111111:role/zonefold"
    );
    assert_eq!(account.external_id.as_ref().unwrap().expose(), "zf-dev");
    assert_eq!(account.budget_config().reserve_share, 0.2);
    let rules = account.zone_rules();
    assert_eq!(
        (rules[0].settings.policy, rules[0].settings.drift),
        (ZonePolicy::Sync, DriftPolicy::Repair)
    );
    assert_eq!((rules[0].settings.default_ttl_secs, rules[1].settings.default_ttl_secs), (60, 300));
    assert_eq!(rules[1].settings.policy, ZonePolicy::Observe);
    assert_eq!(config.clusters[0].labels["region"], "us-east-1");
    assert_eq!(config.clusters[0].visibility, Exposure::Public);
    assert_eq!(config.agents.token_file, Some(PathBuf::from("./token")));
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn adoption_types_and_merging_are_settings_of_a_zone() {
    let config = Config::parse(FULL, "broker.yaml").unwrap();
    let rules = config.accounts[0].zone_rules();
    let (first, second) = (rules[0].settings, rules[1].settings);
    assert_eq!((first.adopt, first.merge), (AdoptPolicy::Identical, MergePolicy::Cluster));
    assert!(first.record_types.allow(RecordType::Txt, false));
    assert!(!first.record_types.allow(RecordType::Cname, false));
    assert_eq!((second.adopt, second.merge), (AdoptPolicy::Never, MergePolicy::Namespace));
    assert_eq!(second.record_types, RecordTypes::Usual);
    let all = FULL.replace("record_types: [A, TXT]", "record_types: all");
    let config = Config::parse(&all, "broker.yaml").unwrap();
    assert_eq!(config.accounts[0].zone_rules()[0].settings.record_types, RecordTypes::All);
}

#[test]
fn the_drift_that_adopts_is_repair_with_adoption_of_any_and_a_warning() {
    assert_eq!(Config::parse(FULL, "broker.yaml").unwrap().warnings(), Vec::<String>::new());
    let old = FULL.replace("drift: repair, adopt: identical", "drift: adopt");
    let config = Config::parse(&old, "broker.yaml").unwrap();
    let settings = config.accounts[0].zone_rules()[0].settings;
    assert_eq!((settings.drift, settings.adopt), (DriftPolicy::Repair, AdoptPolicy::Any));
    let warnings = config.warnings();
    assert!(
        warnings.len() == 1 && warnings[0].starts_with("accounts[0].zones[0].drift: "),
        "{warnings:?}"
    );
}

#[test]
fn an_account_id_with_leading_zeros_keeps_them() {
    let text = FULL.replace("111111111111", "001111111111");
    assert_eq!(
        Config::parse(&text, "broker.yaml").unwrap().accounts[0].id.as_str(),
        "001111111111"
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_keys_that_there_are() {
    let problem = problem_of("external_id: zf-dev", "externalid: zf-dev");
    assert_eq!(problem.place, SourceLocation::Text { line: line_of("external_id"), column: 5 });
    assert!(
        problem.reason.contains("externalid") && problem.reason.contains("external_id"),
        "{problem:?}"
    );
}

#[test]
fn a_text_that_is_no_yaml_is_refused_with_its_line() {
    let problem = problem_of(
        "environments: [ {name: dev}, {name: prod} ]",
        "environments: [ {name: dev}, {name: prod}",
    );
    assert!(
        matches!(problem.place, SourceLocation::Text { line, .. } if line >= line_of("environments")),
        "{problem:?}"
    );
}

#[test]
fn every_rule_names_the_line_the_key_and_a_remedy() {
    let cases = [
        (
            "store: sqlite:./zonefold-data/broker.db",
            "store: mysql://x",
            "store",
            "neither SQLite nor PostgreSQL",
        ),
        ("grpc: 127.0.0.1:7443", "grpc: 0.0.0.0:7443", "listen.grpc", "not a loopback address"),
        ("http: 127.0.0.1:7080", "http: 127.0.0.1:7443", "listen.http", "both listen"),
        ("{ token_file: ./token }", "{}", "agents", "no token"),
        ("{ token_file: ./token }", "{ token: short }", "agents.token", "fewer than 16"),
        (
            "{ token_file: ./token }",
            "{ token: 0123456789abcdef, token_file: ./token }",
            "agents",
            "both",
        ),
        (
            "{name: prod} ]",
            "{name: prod}, {name: dev} ]",
            "environments[2].name",
            "two environments",
        ),
        (
            "    environment: dev\n",
            "    environment: qa\n",
            "accounts[0].environment",
            "no environment qa",
        ),
        (
            "arn:aws:iam::111111111111:role",
            "arn:aws:iam::222222222222:role",
            "accounts[0].role_arn",
            "222222222222",
        ),
        ("partition: aws", "partition: aws-cn", "accounts[0].role_arn", "partition"),
        (
            "via_role_arn: null",
            "via_role_arn: arn:aws-cn:iam::333333333333:role/hub",
            "accounts[0].via_role_arn",
            "partition",
        ),
        (
            "    role_arn: arn:aws:iam::111111111111:role/zonefold\n",
            "",
            "accounts[0].external_id",
            "goes with role_arn",
        ),
        (
            "reserve_percent: 20",
            "reserve_percent: 91",
            "accounts[0].budget.reserve_percent",
            "91 percent",
        ),
        (
            "reserve_percent: 20",
            "reserve_percent: -1",
            "accounts[0].budget.reserve_percent",
            "-1 percent",
        ),
        (
            "{capacity: 50,",
            "{capacity: 0,",
            "accounts[0].budget.requests.capacity",
            "never holds enough",
        ),
        (
            "refill_per_second: 0.5",
            "refill_per_second: .nan",
            "accounts[0].budget.actions.ListHostedZones.refill_per_second",
            "never fills",
        ),
        (
            "{ name: \"*.dev.example.com\", policy: observe }",
            "{ policy: observe }",
            "accounts[0].zones[1]",
            "no condition",
        ),
        (
            "default_ttl_secs: 60",
            "default_ttl_secs: 2147483648",
            "accounts[0].zones[0].default_ttl_secs",
            "more than Route 53",
        ),
        (
            "drift_interval_secs: 600",
            "drift_interval_secs: 0",
            "accounts[0].drift_interval_secs",
            "never rest",
        ),
        (
            "{ name: dev-east, environment: dev",
            "{ name: dev-east, environment: qa",
            "clusters[0].environment",
            "no environment qa",
        ),
        (
            "log: {",
            "journal: { retention_days: 40000 }\nlog: {",
            "journal.retention_days",
            "a hundred years",
        ),
        ("filter: info", "filter: \"a=b=c\"", "log.filter", "not a log filter"),
    ];
    for (from, to, path, reason) in cases {
        let problem = problem_of(from, to);
        assert_eq!(problem.path, path, "{problem:?}");
        assert!(problem.reason.contains(reason), "{problem:?}");
        assert!(!problem.remedy.is_empty());
        assert!(
            matches!(problem.place, SourceLocation::Text { line, .. } if line > 1 || path == "store"),
            "{problem:?}"
        );
    }
}

#[test]
fn a_value_of_the_wrong_form_is_refused_where_it_stands() {
    for (from, to, reason) in [
        ("id: \"111111111111\"", "id: \"1111\"", "exactly twelve digits"),
        (
            "arn:aws:iam::111111111111:role/zonefold",
            "arn:aws:iam::111111111111:user/zonefold",
            "role/",
        ),
        ("external_id: zf-dev", "external_id: \"zf dev\"", "external id"),
        ("profile: \"2026\"", "profile: \"2030\"", "2030"),
        ("policy: sync", "policy: synch", "synch"),
        ("name: dev-east", "name: Dev_East", "cluster name"),
        ("name: dev.example.com", "name: dev..example.com", "empty label"),
    ] {
        let problem = problem_of(from, to);
        assert!(problem.reason.contains(reason), "{problem:?}");
        let expected = line_of(from);
        assert!(
            matches!(problem.place, SourceLocation::Text { line, .. } if line == expected),
            "line {expected}: {problem:?}"
        );
    }
}

#[test]
fn an_external_id_is_not_repeated_when_it_is_refused() {
    let problem = problem_of("external_id: zf-dev", "external_id: \"hush hush\"");
    assert!(!problem.reason.contains("hush"), "{problem:?}");
}

#[test]
fn two_of_a_name_are_refused_and_the_other_is_named() {
    let cluster = "  - { name: dev-east, environment: dev, labels: {region: us-east-1}, visibility: public }\n";
    let problem = problem_of(cluster, &cluster.repeat(2));
    assert_eq!(problem.path, "clusters[1].name");
    assert!(problem.reason.contains("clusters[0]"));
    let account = "  - { id: \"111111111111\", name: other, environment: dev }\n";
    let problem = problem_of("clusters:\n", &format!("{account}clusters:\n"));
    assert_eq!(
        (problem.path.as_str(), problem.place),
        ("accounts[1].id", SourceLocation::Text { line: line_of("clusters:"), column: 11 })
    );
}

#[test]
fn all_problems_are_said_at_once_in_the_order_of_the_file() {
    let text = FULL
        .replace("grpc: 127.0.0.1:7443", "grpc: 10.0.0.1:7443")
        .replace("reserve_percent: 20", "reserve_percent: 95");
    let error = Config::parse(&text, "broker.yaml").unwrap_err();
    let said = error.to_string();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with("broker.yaml:2:") && lines[0].contains("listen.grpc: "), "{said}");
    assert!(lines[1].starts_with("broker.yaml:15:") && lines[1].contains("give 0 to 90"), "{said}");
}

#[test]
fn options_win_over_the_file_and_are_named_when_they_are_wrong() {
    let mut overrides = ConfigOverrides {
        store: Some("postgres://broker:hush@db/zonefold".to_owned()),
        listen_http: Some("127.0.0.1:9000".parse().unwrap()),
        agents_token_file: Some("/run/token".into()),
        log_format: Some(LogFormat::Text),
        ..ConfigOverrides::default()
    };
    let config = Config::parse_with(FULL, "broker.yaml", &overrides).unwrap();
    assert!(config.store.is_postgres());
    assert_eq!(config.listen.http.port(), 9000);
    assert_eq!(config.agents.token_file, Some(PathBuf::from("/run/token")));
    assert_eq!(config.log.format, LogFormat::Text);

    overrides.listen_http = Some("192.0.2.1:80".parse().unwrap());
    let error = Config::parse_with(FULL, "broker.yaml", &overrides).unwrap_err();
    assert_eq!(
        error.problems()[0].place,
        SourceLocation::Override { variable: "ZONEFOLD_LISTEN_HTTP" }
    );
    assert!(error.to_string().starts_with("ZONEFOLD_LISTEN_HTTP"), "{error}");
}

#[test]
fn listeners_beyond_loopback_need_a_word_about_tls() {
    let text =
        FULL.replace("grpc: 127.0.0.1:7443", "plain_text: behind-tls-proxy, grpc: 0.0.0.0:7443");
    assert_eq!(
        Config::parse(&text, "broker.yaml").unwrap().listen.plain_text,
        PlainText::BehindTlsProxy
    );
}

#[test]
fn secrets_are_neither_printed_nor_written() {
    let text = FULL
        .replace(
            "sqlite:./zonefold-data/broker.db",
            "postgres://broker:hush-db@db:5432/zonefold?sslpassword=hush-tls",
        )
        .replace("token_file: ./token", "token: hush-token-0123456789")
        .replace("zf-dev", "hush-external");
    let config = Config::parse(&text, "broker.yaml").unwrap();
    assert_eq!(config.store.to_string(), "postgres://broker:***@db:5432/zonefold?***");
    assert_eq!(config.agents.read_token().unwrap().expose(), "hush-token-0123456789");
    for printed in [format!("{config:?}"), serde_json::to_string(&config).unwrap()] {
        assert!(!printed.contains("hush"), "{printed}");
    }
    // A password that was not percent-encoded, and one in a query behind another @.
    for url in [
        "postgres://broker:hush?hush@db/zonefold",
        "postgres://broker:hush@db/zonefold?user=a@b&password=hush",
    ] {
        assert!(!StoreUrl::new(url).to_string().contains("hush"), "{url}");
    }
}

#[test]
fn an_empty_file_says_what_is_missing() {
    for text in ["", "# nothing yet\n"] {
        let found = problems(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "agents");
    }
}

#[test]
fn a_token_comes_from_its_file_without_white_space_and_not_when_it_can_be_guessed() {
    let path = std::env::temp_dir().join(format!("zonefold-token-{}", uuid::Uuid::new_v4()));
    let agents = Agents { token: None, token_file: Some(path.clone()) };
    assert!(matches!(agents.read_token(), Err(ConfigError::Unreadable { .. })));
    std::fs::write(&path, "0123456789abcdef0123\n").unwrap();
    assert_eq!(agents.read_token().unwrap().expose(), "0123456789abcdef0123");
    std::fs::write(&path, "\n").unwrap();
    assert!(agents.read_token().unwrap_err().to_string().contains("fewer than 16"));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn other_replicas_are_told_an_address_that_leads_here() {
    let advertised = |advertise: Option<&str>, bound: &str| {
        let listen = Listen { advertise: advertise.map(str::to_owned), ..Listen::default() };
        listen.advertised(bound.parse().unwrap())
    };
    assert_eq!(advertised(Some("broker-0.broker:7080"), "0.0.0.0:9000"), "broker-0.broker:7080");
    assert_eq!(advertised(None, "127.0.0.1:9000"), "127.0.0.1:9000");
    let found = advertised(None, "0.0.0.0:9000");
    let reached = found
        .parse::<std::net::SocketAddr>()
        .map(|address| !address.ip().is_unspecified() && address.port() == 9000);
    assert!(found.is_empty() || reached == Ok(true), "{found}");
    for (text, is_taken) in [
        ("10.0.0.5:7080", true),
        ("[2001:db8::1]:7080", true),
        ("host", false),
        ("host:0", false),
        ("a b:1", false),
    ] {
        let config = FULL.replace("listen: {", &format!("listen: {{ advertise: \"{text}\","));
        assert_eq!(Config::parse(&config, "broker.yaml").is_ok(), is_taken, "{text}");
    }
}
