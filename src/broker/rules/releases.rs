//! The words of people on what is held: each is kept with a request, and enough of them let units go.

use uuid::Uuid;

use crate::core::dns::name::DnsName;
use crate::core::governance::actor::{ActingPerson, Actor};
use crate::core::planning::unit_digest::UnitDigest;
use crate::core::release::request::{
    Deciders, RefusedVerb, ReleaseRequest, RequestState, WantedRelease,
};
use crate::core::time::{Millis, Timestamp};
use crate::ports::{ApprovalRow, RequestFilter, Store, StoreError};

/// How long a hold's request waits; then the next word begins a new one.
const WAITS_FOR: Millis = Millis::from_secs(7 * 24 * 3_600);
/// How often a word is tried again that came at the same time as another one.
const TRIES: u32 = 5;

/// A hold as a word is given on it.
#[derive(Clone, Debug)]
pub struct DecidedHold {
    /// What the person looked at.
    pub digest: UnitDigest,
    /// The apex of its zone.
    pub zone: DnsName,
    /// Its units.
    pub units: Vec<UnitDigest>,
    /// Why it is held, for people.
    pub why: String,
    /// How many have to say yes.
    pub needed: u8,
}

/// What a person says.
#[derive(Clone, Debug)]
pub struct Word {
    /// Who.
    pub person: ActingPerson,
    /// Who decides.
    pub deciders: Deciders,
    /// Yes, and for how long then; or no.
    pub verdict: WordVerdict,
    /// What they said to it.
    pub comment: String,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordVerdict {
    /// The units may go, for so long.
    Approve(Millis),
    /// They may not.
    Deny,
}

/// Why a word is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// The person may not, or it is too late.
    #[error(transparent)]
    Refused(#[from] RefusedVerb),
    /// Others say something at the same moment, again and again.
    #[error("others decide the same at this moment: try again")]
    Busy,
    /// The store does not answer, or holds what cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes a word on a hold. The hold has a request by the broker, which is made with the first word.
///
/// # Errors
/// See [`DecideError`]; nothing is done then.
pub async fn decide(
    store: &dyn Store,
    hold: &DecidedHold,
    word: &Word,
    now: Timestamp,
) -> Result<ReleaseRequest, DecideError> {
    for _ in 0..TRIES {
        let pending = RequestFilter {
            state: Some(RequestState::Pending),
            digest: Some(hold.digest),
            limit: 10,
            ..RequestFilter::default()
        };
        let mut known = store.requests(&pending).await?.into_iter();
        let known = known.find(|request| now < request.expires_at);
        let mut request = known.unwrap_or_else(|| begun(hold, now));
        let mut released = vec![];
        match word.verdict {
            WordVerdict::Approve(until) => {
                let (person, deciders) = (&word.person, &word.deciders);
                if request.approve(person, deciders, hold.digest, &word.comment, now)? {
                    let approval = |unit: &UnitDigest| ApprovalRow {
                        unit: *unit,
                        request: request.id,
                        at: now,
                        until: now + until,
                    };
                    released = hold.units.iter().map(approval).collect();
                }
            }
            WordVerdict::Deny => {
                request.deny(&word.person, &word.deciders, &word.comment, now)?;
            }
        }
        request.version += 1;
        if store.save_request(&request, &released).await? {
            return Ok(request);
        }
    }
    Err(DecideError::Busy)
}

/// The request of a hold, not written yet.
fn begun(hold: &DecidedHold, now: Timestamp) -> ReleaseRequest {
    let mut random = [0; 10];
    fastrand::fill(&mut random);
    let id: Uuid =
        uuid::Builder::from_unix_timestamp_millis(now.0.unsigned_abs(), &random).into_uuid();
    ReleaseRequest {
        id,
        version: 0,
        wanted: WantedRelease::Release { zone: hold.zone.clone(), units: hold.units.clone() },
        digest: hold.digest,
        by: Actor::Broker,
        why: hold.why.clone(),
        at: now,
        expires_at: now + WAITS_FOR,
        needed: hold.needed,
        // Nobody asked: whoever decides may be the first.
        four_eyes: true,
        votes: vec![],
        state: RequestState::Pending,
        ended: None,
    }
}
