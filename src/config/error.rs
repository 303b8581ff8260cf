//! The problems of a configuration that cannot be used: where, why, and what to do.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{} cannot be read: {reason}; give the path of a file that the broker may read", path.display())]
    Unreadable { path: PathBuf, reason: std::io::Error },
    /// The file can be read, and its content cannot be used. Nothing of it is.
    #[error("{}", Listed { source_name, problems })]
    Refused {
        /// The file.
        source_name: String,
        /// At least one.
        problems: Vec<Problem>,
    },
    /// Several files cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<ConfigError>),
    /// The file cannot be watched for changes.
    #[error("{} cannot be watched: {reason}", path.display())]
    Unwatchable { path: PathBuf, reason: String },
}

impl ConfigError {
    pub(super) fn refused(source_name: &str, problems: Vec<Problem>) -> Self {
        Self::Refused { source_name: source_name.to_owned(), problems }
    }

    /// One error of all that there are.
    pub(super) fn of_all(mut errors: Vec<Self>) -> Option<Self> {
        let last = errors.pop()?;
        if errors.is_empty() {
            return Some(last);
        }
        errors.push(last);
        Some(Self::Several(errors))
    }

    /// The problems of the content; empty if the file cannot be read or watched at all.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Refused { problems, .. } => problems,
            Self::Unreadable { .. } | Self::Unwatchable { .. } | Self::Several(_) => &[],
        }
    }
}

struct Listed<'a> {
    source_name: &'a str,
    problems: &'a [Problem],
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match &problem.place {
                SourceLocation::Text { line, column } => {
                    write!(f, "{}:{line}:{column}: ", self.source_name)?
                }
                SourceLocation::Override { variable } => {
                    write!(f, "{variable} (environment or command line): ")?
                }
            }
            if !problem.path.is_empty() {
                write!(f, "{}: ", problem.path)?;
            }
            write!(f, "{}; {}", problem.reason, problem.remedy)?;
        }
        Ok(())
    }
}

/// Where a problem comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceLocation {
    /// A place in the text, both counted from 1.
    Text { line: u64, column: u64 },
    /// An option that was laid over the file.
    Override { variable: &'static str },
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it comes from.
    pub place: SourceLocation,
    /// The key, such as `accounts[0].role_arn`; empty for a text that is no YAML.
    pub path: String,
    pub reason: String,
    pub remedy: String,
}

/// One step from a value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The way from the whole configuration to one value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPath(Vec<Step>);

impl KeyPath {
    /// Reads the text of a path, such as `spec.names[0]`.
    pub(super) fn parse(text: &str) -> Self {
        let mut path = Self::default();
        for part in text.split('.').filter(|part| !part.is_empty()) {
            let mut pieces = part.split('[');
            path = path.key(pieces.next().unwrap_or_default());
            for index in pieces.filter_map(|piece| piece.trim_end_matches(']').parse().ok()) {
                path = path.index(index);
            }
        }
        path
    }

    pub(super) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if index == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(number) => write!(f, "[{number}]")?,
            }
        }
        Ok(())
    }
}

/// A problem whose place in the text has not been looked up yet.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) path: KeyPath,
    pub(super) reason: String,
    pub(super) remedy: String,
}

/// Collects the problems that the sections report.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Finding>);

impl Problems {
    pub(super) fn add(
        &mut self,
        path: KeyPath,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Finding { path, reason: reason.into(), remedy: remedy.into() });
    }

    /// Reports every value that an earlier element of the list has already.
    pub(super) fn unique<'a>(
        &mut self,
        list: &KeyPath,
        key: &str,
        what: &str,
        values: impl Iterator<Item = &'a str>,
    ) {
        let mut first_index = BTreeMap::new();
        for (index, value) in values.enumerate() {
            match first_index.get(value) {
                None => {
                    first_index.insert(value, index);
                }
                Some(first) => self.add(
                    list.index(index).key(key),
                    format!(
                        "two {what} have the {key} {value}: {} is the other",
                        list.index(*first)
                    ),
                    "remove one of them, or give it another",
                ),
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.0
    }
}
