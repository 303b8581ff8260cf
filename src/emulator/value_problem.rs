//! Problems of values, in Route 53's wording.

use super::messages;
use super::names::{read_name, shown};

/// A problem of a value: the grade, the problem's name, its explanation, and what it was encountered with.
pub(super) struct Problem {
    pub grade: &'static str,
    pub name: &'static str,
    pub explanation: String,
    pub at: At,
}

/// The text between the last quotation marks of the message.
pub(super) enum At {
    /// The whole value.
    Value,
    /// A part of it, or an explanation.
    Text(String),
}

pub(super) type Checked = Result<(), Problem>;

pub(super) fn problem(name: &'static str, explanation: &str) -> Problem {
    Problem { grade: "FATAL", name, explanation: explanation.to_owned(), at: At::Value }
}

pub(super) fn problem_at(name: &'static str, explanation: &str, at: impl Into<String>) -> Problem {
    Problem { at: At::Text(at.into()), ..problem(name, explanation) }
}

pub(super) fn unsupported(character: char) -> Problem {
    let explanation = "Value contains unsupported characters";
    problem_at("UnsupportedCharacter", explanation, shown(character))
}

/// How a number that is none, or too large, is refused; not captured, except for NAPTR and the service types.
pub(super) fn not_a_number() -> Problem {
    problem("InvalidNumber", "Value is not a valid number")
}

pub(super) fn message(problem: Problem, value: &str) -> String {
    let at = match &problem.at {
        At::Value => value,
        At::Text(text) => text,
    };
    messages::invalid_value(problem.grade, problem.name, &problem.explanation, at)
}

pub(super) fn domain(name: &str) -> Result<(), String> {
    if name == "." {
        return Ok(());
    }
    read_name(name).map(drop).map_err(|fatal| format!("Invalid Resource Record: '{fatal}'"))
}
