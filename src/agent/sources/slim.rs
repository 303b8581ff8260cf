//! Structs of the few fields of Kubernetes objects that are read.

use serde::{Deserialize, Deserializer};

/// A struct whose fields may all be missing or null, in the spelling of Kubernetes.
macro_rules! slim {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            $($(#[$field_doc])* #[serde(default, deserialize_with = "crate::agent::sources::slim::null_is_default")] pub $field: $kind,)*
        }
    };
}

pub(super) use slim;

/// Reads a field that is null as one that is not there.
pub(super) fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
