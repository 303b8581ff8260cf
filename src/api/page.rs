//! Lists in pages: how many, from where.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::core::ids::AccountId;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items of the page, in the order of the list.
    pub items: Vec<T>,
    /// The `cursor` of the next page; null at the end.
    pub next: Option<String>,
    /// The accounts that are missing, since their replicas do not answer; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingPart>,
}

/// A part of an answer that is missing: what only another replica knows, which does not say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissingPart {
    /// The replica; null while an account passes from one to another.
    #[schema(format = "uuid")]
    pub replica: Option<String>,
    /// The accounts that it works, of which the answer says less than there is.
    #[schema(value_type = Vec<String>, example = json!(["111111111111"]))]
    pub accounts: Vec<AccountId>,
    /// What happened, and what to do.
    pub detail: String,
}

impl<T> Page<T> {
    /// A page that lacks nothing.
    pub fn of_all(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next, missing: vec![] }
    }

    /// Cuts a page out of a list that is there as a whole, in the order of its positions.
    pub fn of_sorted<P: Serialize + Ord>(
        all: Vec<T>,
        after: Option<&P>,
        limit: Limit,
        position: impl Fn(&T) -> P,
    ) -> Self {
        let rest = all.into_iter().filter(|item| after.is_none_or(|after| position(item) > *after));
        Self::of_overfull(rest.take(limit.get() + 1).collect(), limit, position)
    }

    /// Makes a page of up to one item more than it takes; that one only shows that there is more.
    pub fn of_overfull<P: Serialize>(
        mut items: Vec<T>,
        limit: Limit,
        position: impl Fn(&T) -> P,
    ) -> Self {
        let more = items.len() > limit.get();
        items.truncate(limit.get());
        let next = items.last().filter(|_| more).map(|last| Cursor(position(last)).to_string());
        Self::of_all(items, next)
    }
}

/// How many items a page has at most: 1 to 1,000, by default 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(usize);

impl Limit {
    /// The largest page.
    pub const MAX: usize = 1_000;

    /// As many as a page takes.
    pub const fn largest() -> Self {
        Self(Self::MAX)
    }

    /// The number.
    pub const fn get(self) -> usize {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(100)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse() {
            Ok(limit @ 1..=Self::MAX) => Ok(Self(limit)),
            _ => Err(D::Error::custom(format!("{text:?} is not a number of 1 to {}", Self::MAX))),
        }
    }
}

/// Where a page ended. Its text is opaque to callers: the position as JSON, in hexadecimal digits, which need no escape in a
/// URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor<P>(pub P);

impl<P: Serialize> std::fmt::Display for Cursor<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let json = serde_json::to_vec(&self.0).map_err(|_| std::fmt::Error)?;
        json.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<P: Serialize> Serialize for Cursor<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, P: DeserializeOwned> Deserialize<'de> for Cursor<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let position = from_hex(&text).and_then(|json| serde_json::from_slice(&json).ok());
        position.map(Self).ok_or_else(|| {
            D::Error::custom(
                "this is not a cursor of this list: pass `next` of the last page, or none to start",
            )
        })
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits =
        text.bytes().map(|digit| char::from(digit).to_digit(16)).collect::<Option<Vec<u32>>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| u8::try_from(high * 16 + low).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> Result<Limit, serde_json::Error> {
        serde_json::from_value(serde_json::Value::from(text))
    }

    #[test]
    fn a_limit_is_1_to_1000() {
        assert_eq!(limit("1").unwrap().get(), 1);
        assert_eq!(limit("1000").unwrap().get(), 1_000);
        for bad in ["0", "1001", "-1", "", "ten", "1.5"] {
            assert!(limit(bad).unwrap_err().to_string().contains("1 to 1000"), "{bad:?}");
        }
    }

    #[test]
    fn a_cursor_survives_the_way_to_the_caller_and_back() {
        let cursor = Cursor(("www.example.com".to_owned(), Some("ä/&?".to_owned())));
        let text = cursor.to_string();
        assert!(text.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(serde_json::from_value::<Cursor<_>>(text.into()).unwrap(), cursor);
        for bad in ["x", "7", "zz", "", "22", "ää"] {
            assert!(
                serde_json::from_value::<Cursor<(String, Option<String>)>>(bad.into()).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn pages_in_a_row_are_the_whole_list() {
        let all: Vec<u32> = (0..250).collect();
        let (mut seen, mut after) = (vec![], None);
        loop {
            let page = Page::of_sorted(all.clone(), after.as_ref(), Limit(100), |item| *item);
            seen.extend(page.items);
            let Some(next) = page.next else { break };
            after = Some(serde_json::from_value::<Cursor<u32>>(next.into()).unwrap().0);
        }
        assert_eq!(seen, all);
        assert_eq!(
            Page::of_sorted((0..100).collect(), None, Limit(100), |item: &u32| *item).next,
            None,
            "exactly full"
        );
    }
}
