//! Rules as they are stored: each with its home.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::rule::{ReadDocument, Rule, RuleDocument, RuleHome, RuleKind};
use super::ruleset::Rules;

/// A rule of a stored set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredRule {
    /// The file that it lives in; `None` if it lives in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The document, in the form that `zonefold apply` reads.
    pub document: serde_json::Value,
}

/// Reads documents that are JSON values.
struct JsonDocument<'a>(&'a serde_json::Value);

impl ReadDocument for JsonDocument<'_> {
    type Error = serde_json::Error;

    fn read<S: DeserializeOwned>(&self) -> Result<RuleDocument<S>, Self::Error> {
        RuleDocument::deserialize(self.0)
    }
}

/// The kind of a document, whatever else it says.
#[derive(Deserialize)]
pub struct KindOnly {
    /// The kind.
    pub kind: RuleKind,
}

impl Rule {
    /// Reads a rule from a JSON document.
    ///
    /// # Errors
    /// A key is unknown or missing, or a value is of another form.
    pub fn from_json(
        document: &serde_json::Value,
        home: RuleHome,
    ) -> Result<Self, serde_json::Error> {
        let KindOnly { kind } = KindOnly::deserialize(document)?;
        Self::read(kind, &JsonDocument(document), home)
    }
}

impl StoredRule {
    /// The rule.
    ///
    /// # Errors
    /// A newer release wrote a document that this one cannot read.
    pub fn rule(&self) -> Result<Rule, serde_json::Error> {
        let home = match &self.file {
            Some(path) => RuleHome::File(path.as_str().into()),
            None => RuleHome::Store,
        };
        Rule::from_json(&self.document, home)
    }
}

impl Rules {
    /// All rules in the form in which a set is stored, by kind and name.
    ///
    /// # Errors
    /// A value has no form in JSON; there is none such.
    pub fn to_stored(&self) -> Result<Vec<StoredRule>, serde_json::Error> {
        let stored = |rule: &super::rule::SharedRule| {
            let file = match &rule.home {
                RuleHome::File(path) => Some(path.to_string()),
                RuleHome::Store => None,
            };
            Ok(StoredRule { file, document: rule.document()? })
        };
        self.iter().map(stored).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::governance::testkit::{claimed, rules};

    #[test]
    fn a_stored_set_reads_back_as_the_same_rules() {
        let before = rules(claimed("granted"));
        let stored = before.to_stored().unwrap();
        let read = stored.iter().map(|stored| stored.rule().unwrap()).collect();
        assert_eq!(rules(read).digest(), before.digest());
        assert!(stored.iter().all(|stored| stored.file.is_none()));
    }

    #[test]
    fn a_document_with_an_unknown_key_is_refused() {
        let document = serde_json::json!({
            "apiVersion": "zonefold.dev/v1", "kind": "Team", "metadata": { "name": "pay" },
            "spec": { "owners": { "users": ["ann"] }, "color": "red" },
        });
        let error = Rule::from_json(&document, RuleHome::Store).unwrap_err().to_string();
        assert!(error.contains("color"), "{error}");
    }
}
