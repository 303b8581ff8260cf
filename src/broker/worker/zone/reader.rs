//! A walk through what Route 53 holds in a zone, page by page.

use std::collections::BTreeSet;

use super::compare::Page;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RawRecordSet, RecordType};
use crate::ports::{RecordCursor, RecordPage};

/// A walk through the pages of a zone: all of them, or as many as some names need.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// Where the next page starts; `None` if at the zone's first record.
    cursor: Option<RecordCursor>,
    /// The first name that the next page covers.
    from: Option<DnsName>,
    /// Sets of that name that came with the page before.
    carry: Vec<RawRecordSet>,
    /// The names to read; `None` if all.
    names: Option<BTreeSet<DnsName>>,
}

impl Reader {
    /// All records of the zone.
    pub fn whole() -> Self {
        Self::default()
    }

    /// Some names only.
    pub fn of(names: BTreeSet<DnsName>) -> Self {
        let mut reader = Self { names: Some(names), ..Self::default() };
        reader.go_to_first();
        reader
    }

    /// Where the next page starts; `None` if at the zone's first record.
    pub fn cursor(&self) -> Option<&RecordCursor> {
        self.cursor.as_ref()
    }

    /// Whether it walks through all records.
    pub fn is_whole(&self) -> bool {
        self.names.is_none()
    }

    /// These names too. A walk through the whole zone begins anew, since it may have passed them.
    pub fn also(self, more: BTreeSet<DnsName>) -> Self {
        match (self.names, self.from) {
            (Some(mut names), _) => {
                names.extend(more);
                Self::of(names)
            }
            (None, None) if self.carry.is_empty() && self.cursor.is_none() => Self::of(more),
            (None, _) => Self::whole(),
        }
    }

    fn go_to_first(&mut self) {
        if let Some(first) = self.names.as_ref().and_then(BTreeSet::first) {
            // `A` is the first type in Route 53's order, so the page starts with the whole name.
            self.cursor = Some(RecordCursor {
                name: first.as_str().to_owned(),
                rtype: RecordType::A.to_string(),
                set_identifier: None,
            });
            self.from = Some(first.clone());
            self.carry.clear();
        }
    }

    /// Takes a page; returns its part with whole names, and whether the walk is over. A name that continues on the next page is
    /// held back until it is whole.
    pub fn take(&mut self, page: RecordPage) -> (Page, bool) {
        let mut sets = std::mem::take(&mut self.carry);
        sets.extend(page.sets);
        let next = page
            .next
            .and_then(|cursor| DnsName::parse(&cursor.name).ok().map(|name| (cursor, name)));
        let from = self.from.clone();
        let Some((cursor, next_name)) = next else {
            self.names = self.names.take().map(|_| BTreeSet::new());
            return (Page { from, until: None, sets }, true);
        };
        let (of_next, whole): (Vec<_>, Vec<_>) =
            sets.into_iter().partition(|set| DnsName::parse(&set.name).as_ref() == Ok(&next_name));
        let page = Page { from, until: Some(next_name.clone()), sets: whole };
        self.carry = of_next;
        self.cursor = Some(cursor);
        self.from = Some(next_name.clone());
        if let Some(names) = &mut self.names {
            names.retain(|name| *name >= next_name);
            match names.first() {
                None => return (page, true),
                Some(first) if *first > next_name => self.go_to_first(),
                Some(_) => {}
            }
        }
        (page, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testkit::name;

    fn set(name: &str) -> RawRecordSet {
        RawRecordSet {
            name: name.into(),
            rtype: "A".into(),
            ttl_secs: Some(60),
            values: vec!["192.0.2.1".into()],
            ..RawRecordSet::default()
        }
    }

    fn page(names: &[&str], next: Option<&str>) -> RecordPage {
        let next = next.map(|name| RecordCursor {
            name: name.into(),
            rtype: "TXT".into(),
            set_identifier: None,
        });
        RecordPage { sets: names.iter().map(|name| set(name)).collect(), next }
    }

    fn shown(page: &Page) -> (Option<String>, Option<String>, usize) {
        (
            page.from.as_ref().map(ToString::to_string),
            page.until.as_ref().map(ToString::to_string),
            page.sets.len(),
        )
    }

    #[test]
    fn a_name_that_continues_on_the_next_page_is_held_back_until_it_is_whole() {
        let mut reader = Reader::whole();
        let (first, last) =
            reader.take(page(&["a.example.com.", "b.example.com."], Some("b.example.com.")));
        assert_eq!((shown(&first), last), ((None, Some("b.example.com".to_owned()), 1), false));
        let (second, last) = reader.take(page(&["b.example.com.", "c.example.com."], None));
        assert_eq!((shown(&second), last), ((Some("b.example.com".to_owned()), None, 3), true));
    }

    #[test]
    fn reading_names_skips_what_lies_between() {
        let mut reader = Reader::of([name("a.example.com"), name("m.example.com")].into());
        assert_eq!(reader.cursor.as_ref().unwrap().name, "a.example.com.");
        let (first, last) =
            reader.take(page(&["a.example.com.", "b.example.com."], Some("c.example.com.")));
        assert_eq!(
            (shown(&first), last),
            ((Some("a.example.com".to_owned()), Some("c.example.com".to_owned()), 2), false)
        );
        assert_eq!(reader.cursor.as_ref().unwrap().name, "m.example.com.");
        let (_, last) = reader.take(page(&["m.example.com."], Some("n.example.com.")));
        assert!(last, "nothing is left to read");
    }

    #[test]
    fn a_sweep_that_is_joined_by_names_begins_anew() {
        let mut sweep = Reader::whole();
        sweep.take(page(&["a.example.com."], Some("b.example.com.")));
        let joined = sweep.also([name("a.example.com")].into());
        assert!(joined.cursor.is_none() && joined.names.is_none());
    }
}
