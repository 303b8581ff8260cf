//! Record values: the syntax of each type, and one canonical text for each value.
//!
//! The canonical text is for comparing and for writing; what Route 53 holds stays as it was answered. A value that Route 53
//! took from others but that breaks its type's RFC is an error here, so it is never equal to a wanted one. What clusters want has
//! to pass [`check_publishable`] too.

mod publishable;
mod simple;
mod svcb;
#[cfg(test)]
mod tests;
mod text;

use arcstr::ArcStr;

pub use self::publishable::{check_publishable, host_problem};
use super::record_type::RecordType;

/// Values in one set, at most (Route 53).
pub const MAX_VALUES: usize = 400;
/// Characters of one value, at most, quotes and escapes included (Route 53).
pub const MAX_VALUE_CHARS: usize = 4_000;

/// Why a value is not one of its type; the text names the value, the rule and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rtype} value {value:?}: {problem}")]
pub struct ValueError {
    /// The type.
    pub rtype: RecordType,
    /// The value, cut to 80 characters.
    pub value: String,
    /// The problem and how to fix it.
    pub problem: String,
}

impl ValueError {
    fn new(rtype: RecordType, value: &str, problem: impl Into<String>) -> Self {
        Self { rtype, value: value.chars().take(80).collect(), problem: problem.into() }
    }
}

/// The canonical values of one set: each in canonical text, sorted, without duplicates.
///
/// # Errors
/// The first value that does not fit the type, or the first one too many.
pub fn canonical_values(rtype: RecordType, values: &[ArcStr]) -> Result<Vec<ArcStr>, ValueError> {
    if values.is_empty() {
        return Err(ValueError::new(rtype, "", "there is none: give at least one value"));
    }
    let mut canonical = values
        .iter()
        .map(|value| canonical_value(rtype, value).map(ArcStr::from))
        .collect::<Result<Vec<_>, _>>()?;
    canonical.sort();
    canonical.dedup();
    let most = match rtype {
        // RFC 1034 §3.6.2 and §3.6.1: a name has one canonical name, and a zone one start of authority.
        RecordType::Cname | RecordType::Soa => 1,
        _ => MAX_VALUES,
    };
    match canonical.get(most) {
        Some(extra) => {
            let problem = format!(
                "the set has {} values and {rtype} allows {most} at most: remove the others",
                canonical.len()
            );
            Err(ValueError::new(rtype, extra, problem))
        }
        None => Ok(canonical),
    }
}

/// The values of unknown types are not read.
fn other(_: &str) -> Result<String, String> {
    Err("Route 53 did not take this type when Zonefold was made: its values are not read"
        .to_owned())
}

/// One value in canonical text.
///
/// # Errors
/// The problem with the value and how to fix it.
pub fn canonical_value(rtype: RecordType, value: &str) -> Result<String, ValueError> {
    let parse = match rtype {
        RecordType::A => simple::a,
        RecordType::Aaaa => simple::aaaa,
        RecordType::Caa => text::caa,
        RecordType::Cname | RecordType::Ns | RecordType::Ptr => simple::host,
        RecordType::Ds => simple::ds,
        RecordType::Https | RecordType::Svcb => svcb::svcb,
        RecordType::Mx => simple::mx,
        RecordType::Naptr => text::naptr,
        RecordType::Soa => simple::soa,
        RecordType::Spf | RecordType::Txt => text::txt,
        RecordType::Srv => simple::srv,
        RecordType::Sshfp => simple::sshfp,
        RecordType::Tlsa => simple::tlsa,
        RecordType::Other(_) => other,
    };
    let refuse = |problem| ValueError::new(rtype, value, problem);
    if value.trim().is_empty() {
        return Err(refuse("it is empty: give a value or remove it".to_owned()));
    }
    let canonical = parse(value).map_err(refuse)?;
    let chars = canonical.chars().count();
    if chars > MAX_VALUE_CHARS {
        return Err(refuse(format!(
            "it has {chars} characters with quotes and escapes and Route 53 accepts {MAX_VALUE_CHARS} at most: shorten it or spread it over more names"
        )));
    }
    Ok(canonical)
}
