//! Names as Route 53 reads them, with its texts for the ones it does not take.

use super::messages;
use crate::core::dns::name::{DnsName, NameError};

/// Reads a name. The error is Route 53's text.
pub(super) fn read_name(text: &str) -> Result<DnsName, String> {
    let unsupported = || {
        messages::fatal_name("UnsupportedCharacter", "Value contains unsupported characters", text)
    };
    if !text.is_ascii() {
        return Err(unsupported());
    }
    DnsName::parse(text).map_err(|error| match error {
        NameError::Empty => messages::fatal_name("DomainNameEmpty", "Domain name is empty", text),
        NameError::LabelEmpty { .. } => {
            messages::fatal_name("DomainLabelEmpty", "Domain label is empty", text)
        }
        NameError::LabelTooLong { label, .. } => {
            messages::fatal_name("DomainLabelTooLong", "Domain label is too long", &label)
        }
        NameError::NameTooLong { .. } => {
            messages::fatal_name("DomainNameTooLong", "Domain name is too long", text)
        }
        NameError::UnsupportedCharacter { .. }
        | NameError::BadEscape { .. }
        | NameError::Idna { .. } => unsupported(),
    })
}
