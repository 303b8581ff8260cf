//! Values whose depth is limited while they are read: serde_json gives up a whole page if one object in it is nested
//! deeper than its own limit of 128.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep a part of an object may be nested. What is read of objects lies in the first ten levels; a list and the object around
/// the part take some of the 128 that serde_json reads.
pub(super) const MAX_DEPTH: usize = 64;

/// The placeholder of a part that is nested too deep.
pub(super) fn too_deep() -> Value {
    Value::String("zonefold: nested too deep".to_owned())
}

/// Reads a value; [`too_deep`] for one that is nested deeper than [`MAX_DEPTH`].
pub(super) fn nested<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let read = Nested { depth_left: MAX_DEPTH }.deserialize(deserializer)?;
    Ok(read.unwrap_or_else(too_deep))
}

/// Reads a value; `None` for one that is nested too deep.
#[derive(Clone, Copy)]
struct Nested {
    depth_left: usize,
}

impl Nested {
    fn below(self) -> Option<Self> {
        Some(Self { depth_left: self.depth_left.checked_sub(1)? })
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(Value::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Some(Value::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Self::Value, E> {
        Ok(Some(Value::String(value)))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Some(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Some(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let Some(below) = self.below() else {
            // Ignored items are read without going into them, however deep they are.
            while access.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        let mut items = Some(Vec::new());
        while let Some(item) = access.next_element_seed(below)? {
            items = items.zip(item).map(|(mut items, item)| {
                items.push(item);
                items
            });
        }
        Ok(items.map(Value::Array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let Some(below) = self.below() else {
            while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        let mut fields = Some(Map::new());
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(below)?;
            fields = fields.zip(value).map(|(mut fields, value)| {
                fields.insert(name, value);
                fields
            });
        }
        Ok(fields.map(Value::Object))
    }
}
