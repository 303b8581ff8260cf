//! Builders of rules for tests.

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::rule::{ReadDocument, Rule, RuleDocument, RuleHome, RuleKind};
use super::ruleset::Rules;

struct Json(serde_json::Value);

impl ReadDocument for Json {
    type Error = serde_json::Error;

    fn read<S: DeserializeOwned>(&self) -> Result<RuleDocument<S>, Self::Error> {
        RuleDocument::deserialize(&self.0)
    }
}

/// A rule with a home.
pub fn rule_of(home: RuleHome, kind: RuleKind, rule_name: &str, spec: serde_json::Value) -> Rule {
    let document = json!({
        "apiVersion": "zonefold.dev/v1", "kind": kind, "metadata": { "name": rule_name }, "spec": spec,
    });
    Rule::read(kind, &Json(document), home).unwrap()
}

/// A rule of the store.
pub fn rule(kind: RuleKind, rule_name: &str, spec: serde_json::Value) -> Rule {
    rule_of(RuleHome::Store, kind, rule_name, spec)
}

/// A team whose owners are the group of its name.
pub fn team(team_name: &str) -> Rule {
    rule(RuleKind::Team, team_name, json!({ "owners": { "groups": [team_name] } }))
}

/// The team `platform` owns the zone `example.com`, whose names are claimed in a mode.
pub fn claimed(mode: &str) -> Vec<Rule> {
    let spec = json!({ "zone": "example.com", "team": "platform", "claims": mode });
    vec![team("platform"), rule(RuleKind::Ownership, "all", spec)]
}

/// Rules put together.
pub fn rules(rules: Vec<Rule>) -> Rules {
    Rules::new(rules).unwrap()
}
