//! Rules in files: folders of YAML, read whole or refused whole.
//!
//! A file holds any number of documents, parted by `---`. Files are read in the order of their names; what does not end with `.yaml` or
//! `.yml` is passed over, and so is what begins with a dot, such as the links of a mounted ConfigMap.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;

use super::error::{ConfigError, KeyPath, Problem, SourceLocation};
use super::locate::{self, Node};
use crate::core::governance::document::KindOnly;
use crate::core::governance::problem::RulePath;
use crate::core::governance::rule::{ReadDocument, Rule, RuleDocument, RuleHome, RuleId};
use crate::core::governance::ruleset::{Rules, SetProblem};

/// The most octets of one file: far more than any that a person writes.
const MAX_FILE_OCTETS: u64 = 64 << 20;

/// All rules of the folders that a configuration names.
#[derive(Clone, Debug, Default)]
pub struct RulesOfFiles(Arc<Rules>);

impl PartialEq for RulesOfFiles {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest() == other.0.digest()
    }
}

impl RulesOfFiles {
    /// Reads folders. A team that is not there is warned of: what it owned falls to the owner of the wider pattern.
    ///
    /// # Errors
    /// Something cannot be read, or is no rule, or does not go with another rule: nothing is taken then.
    pub fn read(folders: &[PathBuf]) -> Result<Self, ConfigError> {
        let files = RuleFiles::read(folders).map_err(several)?;
        let rules = Rules::new(files.rules.clone()).map_err(|found| several(files.place(found)))?;
        Ok(Self(Arc::new(rules)))
    }

    /// Rules that stand in no folder of this machine.
    pub fn of(rules: Rules) -> Self {
        Self(Arc::new(rules))
    }

    /// The rules.
    pub fn shared(&self) -> Arc<Rules> {
        Arc::clone(&self.0)
    }
}

/// There is an error at least, or nothing was refused.
fn several(errors: Vec<ConfigError>) -> ConfigError {
    ConfigError::of_all(errors).unwrap_or_else(|| ConfigError::Several(vec![]))
}

/// The rules of all files, and where each stands.
#[derive(Debug, Default)]
pub struct RuleFiles {
    /// The rules, in the order in which they stand.
    pub rules: Vec<Rule>,
    texts: HashMap<RuleId, DocumentText>,
}

/// The text of a document, and the line of the file on which it begins, counted from 0.
#[derive(Clone, Debug)]
struct DocumentText {
    text: String,
    first_line: u64,
}

impl RuleFiles {
    /// Reads folders.
    ///
    /// # Errors
    /// A folder or a file cannot be read, or something in a file is no rule: each with file, line and remedy.
    pub fn read(folders: &[PathBuf]) -> Result<Self, Vec<ConfigError>> {
        let mut files = Self::default();
        let mut errors = vec![];
        for folder in folders {
            match files_of(folder) {
                Ok(paths) => {
                    for path in paths {
                        errors.extend(files.read_file(&path).err());
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(files) } else { Err(errors) }
    }

    /// Reads files, and the files of folders.
    ///
    /// # Errors
    /// As [`RuleFiles::read`].
    pub fn read_all(paths: &[PathBuf]) -> Result<Self, ConfigError> {
        let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
            paths.iter().cloned().partition(|path| path.is_dir());
        let mut read = Self::read(&folders).map_err(several)?;
        let errors: Vec<ConfigError> =
            files.iter().filter_map(|path| read.read_file(path).err()).collect();
        ConfigError::of_all(errors).map_or(Ok(read), Err)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let unreadable = |reason| ConfigError::Unreadable { path: path.to_owned(), reason };
        let length = std::fs::metadata(path).map_err(unreadable)?.len();
        if length > MAX_FILE_OCTETS {
            let reason =
                format!("the file has {length} octets; {MAX_FILE_OCTETS} are read at most");
            let source = std::io::Error::new(std::io::ErrorKind::FileTooLarge, reason);
            return Err(unreadable(source));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        self.add_text(&text, &path.display().to_string())
    }

    /// Adds the rules of a text; `source_name` stands for the file.
    ///
    /// # Errors
    /// What in the text is no rule.
    pub fn add_text(&mut self, text: &str, source_name: &str) -> Result<(), ConfigError> {
        let mut problems = vec![];
        for document in documents(text) {
            match document.read(source_name) {
                Ok(rule) => {
                    self.texts.entry(rule.id()).or_insert(document);
                    self.rules.push(rule);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::refused(source_name, problems)) }
    }

    /// What is wrong with a set of rules, each problem with the line of its file.
    pub fn place(&self, problems: Vec<SetProblem>) -> Vec<ConfigError> {
        let mut by_home: BTreeMap<String, Vec<Problem>> = BTreeMap::new();
        for found in problems {
            let place = match self.texts.get(&found.rule) {
                Some(document) => document.place(&found.problem.path),
                None => SourceLocation::Text { line: 1, column: 1 },
            };
            let source_name = match &found.home {
                RuleHome::File(path) => path.to_string(),
                RuleHome::Store => "the store".to_owned(),
            };
            by_home.entry(source_name).or_default().push(Problem {
                place,
                path: format!("{}: {}", found.rule, found.problem.path),
                reason: found.problem.reason,
                remedy: found.problem.remedy,
            });
        }
        by_home
            .into_iter()
            .map(|(source_name, problems)| ConfigError::refused(&source_name, problems))
            .collect()
    }
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let unreadable = |reason| ConfigError::Unreadable { path: folder.to_owned(), reason };
    let mut paths = vec![];
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
        if is_yaml && !name.starts_with('.') && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The documents of a text; those of nothing but comments are none.
fn documents(text: &str) -> impl Iterator<Item = DocumentText> {
    let mut documents = vec![];
    let mut current = DocumentText { text: String::new(), first_line: 0 };
    for (number, line) in (0_u64..).zip(text.lines()) {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            let next = DocumentText { text: String::new(), first_line: number + 1 };
            documents.push(std::mem::replace(&mut current, next));
        } else {
            current.text.push_str(line);
            current.text.push('\n');
        }
    }
    documents.push(current);
    documents.into_iter().filter(|document| {
        let says_something = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
        document.text.lines().any(says_something)
    })
}

impl DocumentText {
    fn read(&self, source_name: &str) -> Result<Rule, Problem> {
        let KindOnly { kind } = self.parse()?;
        Rule::read(kind, self, RuleHome::File(source_name.into()))
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        locate::read_as(&self.text).map_err(|mut problem| {
            if let SourceLocation::Text { line, .. } = &mut problem.place {
                *line += self.first_line;
            }
            problem
        })
    }

    fn place(&self, path: &RulePath) -> SourceLocation {
        let tree: Option<Spanned<Node>> = locate::tree(&self.text);
        let mut place = locate::text_place(tree.as_ref(), &KeyPath::parse(path.as_str()));
        if let SourceLocation::Text { line, .. } = &mut place {
            *line += self.first_line;
        }
        place
    }
}

impl ReadDocument for DocumentText {
    type Error = Problem;

    fn read<S: DeserializeOwned>(&self) -> Result<RuleDocument<S>, Problem> {
        self.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "\
# of the team
apiVersion: zonefold.dev/v1
kind: Team
metadata: { name: pay }
spec: { owners: { groups: [pay-leads] } }
---
# nothing
---
apiVersion: zonefold.dev/v1
kind: Ownership
metadata: { name: pay }
spec:
  zone: example.com
  names:
    - \"*.pay.example.com\"
    - www.example.org
  team: pay
";

    #[test]
    fn a_file_holds_any_number_of_rules() {
        let mut files = RuleFiles::default();
        files.add_text(TWO, "rules/pay.yaml").unwrap();
        let ids: Vec<_> = files.rules.iter().map(|rule| rule.id().to_string()).collect();
        assert_eq!(ids, ["Team pay", "Ownership pay"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_in_the_file() {
        let mut files = RuleFiles::default();
        files.add_text(TWO, "rules/pay.yaml").unwrap();
        let problems = Rules::new(files.rules.clone()).unwrap_err();
        let said: Vec<_> = files.place(problems).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "rules/pay.yaml:16:7: Ownership pay: spec.names[1]: www.example.org is not in the zone example.com; name what lies in example.com, or write a rule for the zone that it lies in"
            ]
        );
        for (from, to, said) in [
            ("kind: Ownership", "kind: Owner", "rules/pay.yaml:10:7: unknown variant"),
            ("  team: pay", "  teem: pay", "rules/pay.yaml:17:3: unknown field"),
            ("zonefold.dev/v1\nkind: Team", "zonefold.dev/v2\nkind: Team", "rules/pay.yaml:2:13: "),
        ] {
            let error = RuleFiles::default()
                .add_text(&TWO.replace(from, to), "rules/pay.yaml")
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn files_of_a_folder_are_read_in_the_order_of_their_names() {
        let folder = std::env::temp_dir().join(format!("zonefold-rules-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let team = |name: &str| {
            format!(
                "apiVersion: zonefold.dev/v1\nkind: Team\nmetadata: {{ name: {name} }}\nspec: {{ owners: {{ users: [ann] }} }}\n"
            )
        };
        for (file, text) in [
            ("b.yml", team("second")),
            ("a.yaml", team("first")),
            ("notes.txt", "no rules".to_owned()),
            ("..data.yaml", "no rules".to_owned()),
        ] {
            std::fs::write(folder.join(file), text).unwrap();
        }
        let read = RuleFiles::read(std::slice::from_ref(&folder));
        std::fs::remove_dir_all(&folder).unwrap();
        let names: Vec<_> = read.unwrap().rules.iter().map(|rule| rule.name.to_string()).collect();
        assert_eq!(names, ["first", "second"]);
        assert!(RuleFiles::read(&[folder]).is_err());
    }
}
