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
use super::state::EmulatorState;
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
    /// The account of the key that signed it; `None` for an unknown key.
    pub account: Option<AccountId>,
    pub action: Action,
    /// Whether a bucket was too empty for it.
    pub overdrew: bool,
    /// The batches that were applied with it: its own, and those that a fault rule adds as another writer.
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
        let world = Arc::new(Mutex::new(EmulatorState::new(config, clock.clone(), journal)));
        Ok(Self { control: Control { world, clock } })
    }

    /// Steers it.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The account whose key signed a request; `None` for an unknown key.
    pub fn caller(&self, headers: &HeaderMap) -> Option<AccountId> {
        let claim = sigv4::claim(headers).ok()?;
        Some(lock(&self.control.world).identities.caller(&claim.access_key_id)?.account.clone())
    }

    /// Answers a request of Route 53 or STS. `arrived` is called at the moment the request is carried out, if it is. A
    /// call that a fault rule lets hang is never answered.
    ///
    /// # Errors
    /// A fault rule cut the connection.
    pub async fn call(
        &self,
        request: Request<Bytes>,
        arrived: impl FnOnce(Arrival),
    ) -> Result<Response<axum::body::Body>, Cut> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::dns::name::DnsName;
    use crate::emulator::{
        AccessKeyConfig, AccountConfig, BucketConfig, ClockMode, FaultEffect, FaultMatch,
        FaultRule, LimitsConfig, Moment, Secret, SignatureMode, ZoneConfig,
    };

    const KEY: &str = "AKIAEMULATOR00000001";

    /// An account with one zone and tokens for two requests.
    fn emulator() -> InProcess {
        let mut account = AccountConfig::new(AccountId::parse("111111111111").unwrap());
        account.access_keys = vec![AccessKeyConfig {
            id: KEY.to_owned(),
            secret: Secret::new("secret"),
            user: "me".to_owned(),
        }];
        account.zones = vec![ZoneConfig::public(DnsName::parse("example.com").unwrap())];
        let requests = Some(BucketConfig { capacity: 2, per_sec: 0.0 });
        account.limits = LimitsConfig { requests, ..LimitsConfig::default() };
        let (clock, signature) = (ClockMode::From { start_ms: 1_000_000 }, SignatureMode::Trust);
        InProcess::new(EmulatorConfig {
            accounts: vec![account],
            clock,
            signature,
            ..EmulatorConfig::default()
        })
        .unwrap()
    }

    fn request(path: &str) -> Request<Bytes> {
        let credential = format!("{KEY}/20270101/us-east-1/route53/aws4_request");
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=none");
        Request::get(format!("http://aws/2013-04-01{path}"))
            .header("authorization", authorization)
            .header("x-amz-date", "19700101T001640Z")
            .body(Bytes::new())
            .unwrap()
    }

    async fn call(emulator: &InProcess, path: &str) -> (Result<u16, Cut>, Option<Arrival>) {
        let mut arrival = None;
        let answer = emulator.call(request(path), |arrived| arrival = Some(arrived)).await;
        (answer.map(|response| response.status().as_u16()), arrival)
    }

    #[tokio::test(start_paused = true)]
    async fn who_hands_a_request_over_learns_when_it_was_carried_out_and_whether_it_overdrew() {
        let emulator = emulator();
        assert_eq!(emulator.control().now().0, 1_000_000);
        for overdrew in [false, false, true] {
            let (status, arrival) = call(&emulator, "/hostedzone").await;
            let arrival = arrival.unwrap();
            assert_eq!(
                (status, arrival.overdrew),
                (Ok(if overdrew { 400 } else { 200 }), overdrew)
            );
            assert_eq!(
                (arrival.account.as_ref().map(AccountId::as_str), arrival.action),
                (Some("111111111111"), Action::ListHostedZones)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_came_to_be_carried_out_never_arrived() {
        let emulator = emulator();
        let reset = FaultRule {
            matching: FaultMatch::default(),
            times: Some(1),
            effect: FaultEffect::ResetBeforeApply {},
        };
        emulator.control().add_fault(reset);
        assert_eq!(call(&emulator, "/hostedzone").await, (Err(Cut), None));
        assert_eq!(call(&emulator, "/hostedzone").await.0, Ok(200));
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_write_beside_a_call_arrives_with_it() {
        let emulator = emulator();
        let zone = emulator.control().zones()[0].id.clone();
        let set = crate::core::dns::record::RawRecordSet {
            name: "www.example.com".into(),
            rtype: "A".into(),
            ttl_secs: Some(60),
            values: vec!["192.0.2.1".into()],
            ..Default::default()
        };
        let changes = vec![crate::emulator::RecordChange {
            action: crate::emulator::ChangeAction::Create,
            set,
        }];
        emulator.control().add_fault(FaultRule::always(FaultEffect::ForeignWrite {
            when: Moment::Before,
            changes,
        }));
        let (status, arrival) = call(&emulator, &format!("/hostedzone/{zone}/rrset")).await;
        assert_eq!((status, arrival.unwrap().applied.len()), (Ok(200), 1));
    }
}
