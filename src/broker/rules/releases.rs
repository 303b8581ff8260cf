//! The words of people on what is held: each is kept with a request, and enough of them let units go.

use uuid::Uuid;

use crate::core::audit::{
    AuditEntry, AuditKind, AuditOrigin, AuditResult, AuditScope, request_changes,
};
use crate::core::dns::name::DnsName;
use crate::core::governance::actor::{ActingPerson, Actor};
use crate::core::ids::id_at;
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
    /// Its names.
    pub names: Vec<DnsName>,
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
    /// From where they say it.
    pub origin: AuditOrigin,
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
    let names: Vec<String> = hold.names.iter().map(ToString::to_string).collect();
    for _ in 0..TRIES {
        let pending = RequestFilter {
            state: Some(RequestState::Pending),
            digest: Some(hold.digest),
            limit: 10,
            ..RequestFilter::default()
        };
        let mut known = store.requests(&pending).await?.into_iter();
        let known = known.find(|request| now < request.expires_at);
        let before = known.clone();
        let mut request = known.unwrap_or_else(|| begun(hold, now));
        match say(&mut request, hold, word, now) {
            Ok(released) => {
                request.version += 1;
                let audit = request_changes(before.as_ref(), &request, &word.origin, &names);
                if store.save_request(&request, &released, &audit).await? {
                    return Ok(request);
                }
            }
            Err(refused) => {
                let request = before.map(|before| before.id);
                store.append_audit(&[refused_word(hold, word, request, &refused, now)]).await?;
                return Err(refused.into());
            }
        }
    }
    Err(DecideError::Busy)
}

/// What the audit says of a word that is not taken.
fn refused_word(
    hold: &DecidedHold,
    word: &Word,
    request: Option<Uuid>,
    refused: &RefusedVerb,
    now: Timestamp,
) -> AuditEntry {
    let kind = match word.verdict {
        WordVerdict::Approve(_) => AuditKind::RequestApproved,
        WordVerdict::Deny => AuditKind::RequestDenied,
    };
    AuditEntry {
        origin: word.origin.clone(),
        scope: AuditScope { zone: Some(hold.zone.clone()), ..AuditScope::default() }
            .named(hold.names.iter().map(ToString::to_string)),
        reason: Some(word.comment.clone()).filter(|comment| !comment.is_empty()),
        request,
        result: AuditResult::Refused(refused.to_string()),
        ..AuditEntry::new(now, word.person.actor.clone(), kind)
    }
}

/// Takes a word into the request, and answers the units that it lets go.
fn say(
    request: &mut ReleaseRequest,
    hold: &DecidedHold,
    word: &Word,
    now: Timestamp,
) -> Result<Vec<ApprovalRow>, RefusedVerb> {
    let (person, deciders) = (&word.person, &word.deciders);
    match word.verdict {
        WordVerdict::Approve(until) => {
            if !request.approve(person, deciders, hold.digest, &word.comment, now)? {
                return Ok(vec![]);
            }
            let approval = |unit: &UnitDigest| ApprovalRow {
                unit: *unit,
                request: request.id,
                at: now,
                until: now + until,
            };
            Ok(hold.units.iter().map(approval).collect())
        }
        WordVerdict::Deny => {
            request.deny(person, deciders, &word.comment, now)?;
            Ok(vec![])
        }
    }
}

/// How many requests are looked at at once.
const PAGE: u32 = 500;

/// Ends the requests whose time is over; answers how many. Each replica may try: one of them is first.
///
/// # Errors
/// The store does not answer.
pub async fn expire(
    store: &dyn Store,
    origin: &AuditOrigin,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let mut filter = RequestFilter {
        state: Some(RequestState::Pending),
        limit: PAGE,
        ..RequestFilter::default()
    };
    let mut ended = 0;
    loop {
        let page = store.requests(&filter).await?;
        for before in &page {
            let mut request = before.clone();
            if !request.expire(now) {
                continue;
            }
            request.version += 1;
            let audit = request_changes(Some(before), &request, origin, &[]);
            ended += usize::from(store.save_request(&request, &[], &audit).await?);
        }
        let Some(last) = page.last().filter(|_| page.len() == PAGE as usize) else {
            return Ok(ended);
        };
        filter.before = Some((last.at, last.id));
    }
}

/// The request of a hold, not written yet.
fn begun(hold: &DecidedHold, now: Timestamp) -> ReleaseRequest {
    ReleaseRequest {
        id: id_at(now, fastrand::fill),
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
