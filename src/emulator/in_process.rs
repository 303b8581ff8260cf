//! The emulator without ports: requests are handed over in the process, so that they take the way and the time that their
//! sender gives them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use tokio_util::sync::CancellationToken;

use super::action::Action;
use super::clock::EmulatorClock;
use super::config::EmulatorConfig;
use super::handle::Control;
use super::journal::JournalEntry;
use super::server::{Cut, answer, lock};
use super::sigv4;
use super::world::World;
use super::{EmulatorError, open_journal};
use crate::core::ids::AccountId;

/// An emulator that is called like a function.
#[derive(Clone)]
pub struct InProcess {
    control: Control,
}

/// A call in the moment in which it was carried out, or refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// The account of the key that signed it; none for a key that nobody has.
    pub account: Option<AccountId>,
    /// The operation.
    pub action: Action,
    /// Whether a bucket was too empty for it.
    pub overdrew: bool,
    /// The batches that were applied with it: its own, and those of others that a fault rule put beside it.
    pub applied: Vec<JournalEntry>,
}

impl InProcess {
    /// Checks the configuration; its addresses are not used.
    ///
    /// # Errors
    /// The configuration is wrong, or the journal's file cannot be opened.
    pub fn new(config: EmulatorConfig) -> Result<Self, EmulatorError> {
        config.validate()?;
        let journal = open_journal(&config)?;
        let clock = Arc::new(EmulatorClock::new(config.clock));
        let world = Arc::new(Mutex::new(World::new(config, clock.clone(), journal)));
        Ok(Self { control: Control { world, clock } })
    }

    /// Steers it.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The account whose key signed a request; none for a key that nobody has.
    pub fn caller(&self, headers: &HeaderMap) -> Option<AccountId> {
        let claim = sigv4::claim(headers).ok()?;
        Some(lock(&self.control.world).identities.caller(&claim.access_key_id)?.account.clone())
    }

    /// Answers a request of Route 53 or STS. `arrived` is told of it in the moment in which it is carried out, when it is. A
    /// call that a fault rule lets hang is never answered.
    ///
    /// # Errors
    /// A fault rule cut the connection.
    pub async fn call(&self, request: Request<Bytes>, arrived: impl FnOnce(Arrival)) -> Result<Response<axum::body::Body>, Cut> {
        let world = Arc::clone(&self.control.world);
        answer(request.map(Full::new), world, CancellationToken::new(), |world, call| {
            arrived(Arrival {
                overdrew: world.counters.overdrawn(call.account.as_ref()) > call.overdrawn_before,
                account: call.account.clone(),
                action: call.action,
                applied: world.journal.after(call.first_entry - 1),
            });
        })
        .await
    }
}
