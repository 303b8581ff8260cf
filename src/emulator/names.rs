//! Names as Route 53 reads them, with its texts for the ones it does not take.

use super::messages;
use crate::core::dns::name::{DnsName, NameError};

/// Reads a name. The error is Route 53's text, which repeats a character that it does not take, and nothing else of the name.
pub(super) fn read_name(text: &str) -> Result<DnsName, String> {
    if let Some(character) = text.chars().find(|character| !character.is_ascii_graphic()) {
        return Err(unsupported_character(character));
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
        NameError::UnsupportedCharacter { character, .. } => unsupported_character(character),
        NameError::BadEscape { .. } | NameError::Idna { .. } => unsupported_character('\\'),
    })
}

fn unsupported_character(character: char) -> String {
    let shown = shown(character).to_string();
    messages::fatal_name("UnsupportedCharacter", "Value contains unsupported characters", &shown)
}

/// A character as Route 53 repeats it: one beyond ASCII is `?`.
pub(super) fn shown(character: char) -> char {
    if character.is_ascii() { character } else { '?' }
}
