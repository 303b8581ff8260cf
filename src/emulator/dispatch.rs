//! The way of a call through the state: who calls, tokens, permission, and only then what is asked.

use sha2::{Digest as _, Sha256};

use super::action::{Action, Service};
use super::call::Call;
use super::config::{SignatureMode, ThrottleOrder};
use super::error::AwsError;
use super::faults::{FaultEffect, Moment};
use super::identity::{Caller, CallerKind, denied};
use super::journal::Origin;
use super::operations::{self, Answer};
use super::request::ChangeRequest;
use super::sigv4::{self, Signed};
use super::state::{Begun, EmulatorState, ReadBatch, Write, cost};
use super::sts;
use crate::core::ids::ZoneId;
use crate::core::time::{Millis, Timestamp};
use crate::ports::Clock as _;

impl EmulatorState {
    /// Carries a call out and counts it.
    pub fn carry_out(
        &mut self,
        call: &Call,
        batch: ReadBatch,
        begun: &Begun,
    ) -> Result<Answer, AwsError> {
        let now = self.clock.now();
        if let (Service::Route53, Some(account)) = (call.action.service(), &begun.account) {
            self.counters.requested(account, now);
        }
        let result = self.judge(call, batch, begun, now);
        let outcome = result.as_ref().map_or_else(|error| error.code, |_| "ok");
        self.counters.answered(begun.account.as_ref(), call.action, outcome);
        if let (Some(account), Err(error)) = (&begun.account, &result) {
            match error.code {
                "Throttling" => self.counters.throttled(account),
                "PriorRequestNotComplete" => self.counters.wasted(account),
                _ => {}
            }
        }
        result
    }

    fn judge(
        &mut self,
        call: &Call,
        batch: ReadBatch,
        begun: &Begun,
        now: Timestamp,
    ) -> Result<Answer, AwsError> {
        let caller = self.authenticate(call, begun, now)?;
        for effect in &begun.effects {
            refuse_by_fault(effect, call, &caller)?;
        }
        if call.action.service() == Service::Sts {
            return sts::answer(self, call, &caller, now);
        }
        match self.config.switches.throttle_order {
            ThrottleOrder::BeforeAuthorisation => {
                self.take_tokens(call, &batch, &caller, now)?;
                self.identities.authorise(&caller, call.action, call.zone.as_deref())?;
            }
            ThrottleOrder::AfterAuthorisation => {
                self.identities.authorise(&caller, call.action, call.zone.as_deref())?;
                self.take_tokens(call, &batch, &caller, now)?;
            }
        }
        self.foreign_writes(call, begun, Moment::Before);
        let answer = match batch {
            Some(Ok(batch)) => self.change(call, batch, begun, &caller, now),
            Some(Err(error)) => Err(error),
            None => operations::answer(self, call, &caller, begun, now),
        };
        self.foreign_writes(call, begun, Moment::After);
        answer
    }

    fn authenticate(&self, call: &Call, begun: &Begun, now: Timestamp) -> Result<Caller, AwsError> {
        let claim = sigv4::claim(&call.headers)?;
        let caller = self
            .identities
            .caller(&claim.access_key_id)
            .ok_or_else(AwsError::invalid_client_token)?;
        if self.config.signature == SignatureMode::Verify {
            sigv4::check_time(&claim, now + begun.skew())?;
            let signed = Signed {
                method: call.method.as_str(),
                target: &call.target,
                headers: &call.headers,
                body: call.body.as_bytes(),
            };
            sigv4::check_signature(&claim, &signed, caller.secret.expose())?;
        }
        caller.check_token(claim.token.as_deref(), now)?;
        Ok(caller.clone())
    }

    fn take_tokens(
        &mut self,
        call: &Call,
        batch: &ReadBatch,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<(), AwsError> {
        let Some(account) = self.accounts.get_mut(&caller.account) else {
            return Err(AwsError::server(500));
        };
        let changes = match (call.action, batch) {
            (_, Some(Ok(batch))) => cost(&batch.changes, account.limiter.upsert_cost()),
            (Action::CreateHostedZone | Action::DeleteHostedZone, _) => 2,
            _ => 0,
        };
        if account.limiter.take(call.action, changes, now, self.config.switches.throttled_calls) {
            return Ok(());
        }
        self.counters.overdrew(&caller.account);
        Err(AwsError::throttling())
    }

    fn change(
        &mut self,
        call: &Call,
        batch: ChangeRequest,
        begun: &Begun,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Answer, AwsError> {
        self.check_busy(call, begun, caller, now)?;
        let zone = self.zone_of(call, caller)?.id.clone();
        let body_sha256 = hex(&Sha256::digest(call.body.as_bytes()));
        if self.last_body.get(&zone) == Some(&body_sha256) {
            self.counters.wasted(&caller.account);
        }
        let busy_ms = self.config.process_ms + self.ids.below(self.config.process_jitter_ms + 1);
        let write = Write {
            origin: Origin::Request,
            principal: &caller.arn,
            request_id: &begun.request_id,
            comment: batch.comment,
            body_sha256: body_sha256.clone(),
            effects: &begun.effects,
        };
        let info = self.write(&zone, &batch.changes, write)?;
        if let Some(zone) = self.zones.get_mut(&zone) {
            zone.busy_until = now + Millis(i64::try_from(busy_ms).unwrap_or(i64::MAX));
        }
        self.last_body.insert(zone, body_sha256);
        Ok(operations::change_answer(&info))
    }

    fn foreign_writes(&mut self, call: &Call, begun: &Begun, moment: Moment) {
        let Some(zone) = call.zone.as_deref().and_then(|id| ZoneId::parse(id).ok()) else { return };
        for effect in &begun.effects {
            let changes = match effect {
                FaultEffect::ForeignWrite { when, changes } if *when == moment => changes,
                FaultEffect::ListTear { changes } if moment == Moment::After => changes,
                _ => continue,
            };
            if let Err(error) = self.foreign_write(&zone, changes) {
                tracing::warn!(%zone, message = error.message, "a foreign write of a fault rule was refused");
            }
        }
    }
}

fn refuse_by_fault(effect: &FaultEffect, call: &Call, caller: &Caller) -> Result<(), AwsError> {
    match effect {
        FaultEffect::Throttle {} => Err(AwsError::throttling()),
        FaultEffect::Prior {} => Err(AwsError::prior_request()),
        FaultEffect::HttpError { status } => Err(AwsError::server(*status)),
        FaultEffect::UnlistedError {} => Err(AwsError::unlisted()),
        FaultEffect::ExpiredToken {} => Err(AwsError::expired_token()),
        FaultEffect::InvalidClientToken {} => Err(AwsError::invalid_client_token()),
        FaultEffect::AccessDenied {} => Err(denied(&caller.arn, call.action, call.zone.as_deref())),
        FaultEffect::StsDown {} => Err(AwsError::server(503)),
        FaultEffect::RoleRevoked { role_arn } => {
            let is_session = matches!(&caller.standing, CallerKind::Session { role_arn: own, .. } if own == role_arn);
            let assumes =
                call.action == Action::AssumeRole && call.param("RoleArn") == Some(role_arn);
            if is_session || assumes {
                Err(denied(&caller.arn, call.action, call.zone.as_deref()))
            } else {
                Ok(())
            }
        }
        _ => Ok(()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
