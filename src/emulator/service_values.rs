//! SVCB and HTTPS (RFC 9460 §2.1): priority, target, parameters.

use super::messages;
use super::value_problem::{Checked, domain, message, not_a_number, problem, problem_at};

/// Route 53 accepts 15 bits of the priority.
const MAX_PRIORITY: u32 = 32_767;
/// The parameters that Route 53 accepts, and whether they have a value. `mandatory` and numbered keys are not among them.
const KEYS: [(&str, bool); 8] = [
    ("alpn", true),
    ("no-default-alpn", false),
    ("port", true),
    ("ipv4hint", true),
    ("ech", true),
    ("ipv6hint", true),
    ("dohpath", true),
    ("ohttp", false),
];

pub(super) fn check(value: &str) -> Result<(), String> {
    let words = words(value);
    let [priority, target, parameters @ ..] = words.as_slice() else {
        let count = problem(
            "SVCBIncorrectNumberOfFields",
            "Incorrect number of fields, needs <svc priority>, <target name>. Optional fields include <svc param>",
        );
        return Err(message(count, value));
    };
    match priority.parse::<u32>() {
        Ok(priority) if priority <= MAX_PRIORITY => {}
        Ok(_) => return Err(messages::SVC_PRIORITY.to_owned()),
        Err(_) => return Err(message(not_a_number(), value)),
    }
    domain(target)?;
    check_parameters(parameters).map_err(|problem| message(problem, value))
}

fn check_parameters(parameters: &[&str]) -> Checked {
    const FIELD: &str = "Invalid value for field \"SVC Params\"";
    let invalid = |at: String| problem_at("SVCBInvalidFieldValue", FIELD, at);
    let key_of = |parameter: &'_ str| -> String {
        parameter.split_once('=').map_or(parameter, |(key, _)| key).to_owned()
    };
    for parameter in parameters {
        let (key, content) = parameter.split_once('=').unwrap_or((parameter, ""));
        let Some((_, has_value)) = KEYS.iter().find(|(known, _)| *known == key) else {
            return Err(invalid(format!(
                "SVCParam Key presentation name has invalid value: {key}"
            )));
        };
        let content = content.trim_matches('"');
        if *has_value && content.is_empty() {
            return Err(invalid(format!(
                "SVCParam Key {key} must have non-empty value: {content}"
            )));
        }
        if !*has_value && !content.is_empty() {
            return Err(invalid(format!("SVCParam Key {key} must have empty value: {content}")));
        }
    }
    let has = |wanted: &str| parameters.iter().any(|parameter| key_of(parameter) == wanted);
    if has("no-default-alpn") && !has("alpn") {
        return Err(problem_at(
            "SVCBInconsistentParams",
            "Inconsistent SVC Params for SVCParam Key \"no-default-alpn\"",
            "When no-default-alpn is specified in an RR, alpn must also be specified",
        ));
    }
    Ok(())
}

/// The words between blanks, a quoted part kept together.
fn words(value: &str) -> Vec<&str> {
    let (mut words, mut start) = (Vec::new(), None);
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in value.char_indices() {
        let ends = character.is_whitespace() && !quoted;
        match (start, ends) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                words.extend(value.get(from..at));
                start = None;
            }
            _ => {}
        }
        quoted ^= character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
    }
    words.extend(start.and_then(|from| value.get(from..)));
    words
}
