//! Changes of the index that an observation makes, as data. They are made without the index, so that its lock is free while
//! objects are read, and applied in one go.

use std::collections::BTreeSet;

use arcstr::ArcStr;

use super::ORIGIN;
use crate::agent::index::{EntryState, Index, IndexChange};
use crate::agent::sources::{Extraction, ObjectRef, SourceKind};

/// One change of the index.
#[derive(Debug)]
pub enum IndexStep {
    /// An object as it is now.
    Apply(ObjectRef, Extraction),
    /// There is something to report on an object: its content was read.
    NoteNews(ObjectRef),
    /// An object was seen to be deleted.
    Delete(ObjectRef),
    /// A complete list of a source's objects, in one namespace or in all.
    Retain(SourceKind, Option<ArcStr>, BTreeSet<ObjectRef>),
    /// An object can no longer be seen.
    LoseSight(ObjectRef, EntryState),
    /// No object of a source can be seen any more, in one namespace or in all.
    LoseSightOfAll(SourceKind, Option<ArcStr>, EntryState),
    /// A source cannot be read completely, for this reason.
    Fail(SourceKind, String),
    /// The cluster does not know the kind of a source.
    NoSuchKind(SourceKind, String),
    /// A source was read completely.
    Complete(SourceKind),
}

/// The result of an observation.
#[derive(Debug, Default)]
pub struct Observation {
    pub(super) steps: Vec<IndexStep>,
    /// Messages for people.
    pub(super) said: Vec<String>,
}

impl Observation {
    /// Changes the index. Returns the changes for the broker, and messages for people.
    pub fn apply(self, index: &mut Index) -> (Vec<IndexChange>, Vec<String>) {
        let (mut changes, mut said) = (Vec::new(), self.said);
        for step in self.steps {
            changes.extend(step.apply(index, &mut said));
        }
        (changes, said)
    }
}

impl IndexStep {
    fn apply(self, index: &mut Index, said: &mut Vec<String>) -> Vec<IndexChange> {
        match self {
            Self::Apply(object, extraction) => {
                let known: BTreeSet<&String> = index.warnings_of(&object).iter().collect();
                let messages = extraction.warnings.iter().map(|warning| &warning.message);
                let new = messages.filter(|message| !known.contains(message));
                said.extend(new.map(|message| format!("{object}: {message}")));
                return index.apply(&object, &ORIGIN, extraction);
            }
            Self::NoteNews(object) => index.note_news(&object),
            Self::Delete(object) => return index.delete(&object),
            Self::Retain(source, namespace, named) => {
                return index.retain(source, namespace.as_deref(), &named);
            }
            Self::LoseSight(object, standing) => index.lose_sight(&object, standing),
            Self::LoseSightOfAll(source, namespace, standing) => {
                index.lose_sight_of_all(source, namespace.as_deref(), &standing)
            }
            Self::Fail(source, reason) => index.fail(source, reason),
            Self::NoSuchKind(source, reason) => index.no_such_kind(source, reason),
            Self::Complete(source) => index.complete(source),
        }
        Vec::new()
    }
}
