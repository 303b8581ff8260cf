//! The whole state behind one lock, and what is done to it. The way of a call through it is in `dispatch`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::action::Service;
use super::batch::{self, Barrier, Rules};
use super::call::Call;
use super::clock::EmulatorClock;
use super::config::{AccountConfig, EmulatorConfig};
use super::counters::{Counters, CountersReport};
use super::error::AwsError;
use super::faults::{CallFacts, FaultEffect, Faults};
use super::identity::{Caller, Identities};
use super::ids::IdSource;
use super::journal::{Journal, JournalEntry, Origin};
use super::limiter::Limiter;
use super::request::{ChangeAction, ChangeRequest, RecordChange};
use super::sigv4;
use super::xml_write::ChangeInfo;
use super::zone::Zone;
use crate::core::dns::name::DnsName;
use crate::core::ids::{AccountId, ZoneId};
use crate::core::time::{Millis, Timestamp};
use crate::ports::Clock as _;

/// A change id is remembered for a day.
const CHANGE_KEPT: Millis = Millis::from_secs(86_400);

/// An account at work.
#[derive(Debug)]
pub(super) struct Account {
    pub config: AccountConfig,
    pub limiter: Limiter,
}

/// A submitted change.
#[derive(Clone, Debug)]
pub(super) struct Submitted {
    pub at: Timestamp,
    pub due: Timestamp,
    pub comment: Option<String>,
}

/// Everything.
pub(super) struct EmulatorState {
    pub config: EmulatorConfig,
    pub clock: Arc<EmulatorClock>,
    pub ids: IdSource,
    pub identities: Identities,
    pub accounts: BTreeMap<AccountId, Account>,
    pub zones: BTreeMap<ZoneId, Zone>,
    /// The caller references of the zones that calls have made: one stays used when its zone is gone.
    pub caller_references: BTreeSet<(AccountId, String)>,
    pub submitted: BTreeMap<String, Submitted>,
    pub faults: Faults,
    pub counters: Counters,
    pub journal: Journal,
    /// The hash of the last applied body of each zone.
    pub last_body: BTreeMap<ZoneId, String>,
}

/// A call that was let in: what will go wrong with it, and its id.
pub(super) struct Begun {
    pub request_id: String,
    pub effects: Vec<FaultEffect>,
    pub latency_ms: u64,
    /// The zone whose in-flight count it holds.
    pub in_flight: Option<ZoneId>,
    /// The account of the claimed key, for the counters.
    pub account: Option<AccountId>,
}

impl Begun {
    /// How far the clock that judges the call is ahead, by the faults that strike it.
    pub fn skew(&self) -> Millis {
        Millis(self.effects.iter().map(skew_of).sum())
    }
}

/// A batch read from a body, before it is judged.
pub(super) type ReadBatch = Option<Result<ChangeRequest, AwsError>>;

impl EmulatorState {
    /// Full buckets and the configured zones.
    pub fn new(config: EmulatorConfig, clock: Arc<EmulatorClock>, journal: Journal) -> Self {
        let now = clock.now();
        let mut ids = IdSource::new(config.seed);
        let identities = Identities::new(&config.accounts, &mut ids);
        let mut zones = BTreeMap::new();
        for account in &config.accounts {
            for zone in &account.zones {
                let id = zone.id.clone().unwrap_or_else(|| new_zone_id(&mut ids));
                let mut made = Zone::new(
                    id.clone(),
                    account.id.clone(),
                    zone.name.clone(),
                    name_servers(&mut ids),
                );
                made.caller_reference = format!("emulator:{id}");
                made.private = zone.private;
                made.tags.clone_from(&zone.tags);
                zones.insert(id, made);
            }
        }
        let account = |config: &AccountConfig| Account {
            limiter: Limiter::new(&config.limits, now),
            config: config.clone(),
        };
        let accounts =
            config.accounts.iter().map(|config| (config.id.clone(), account(config))).collect();
        Self {
            config,
            clock,
            ids,
            identities,
            accounts,
            zones,
            caller_references: BTreeSet::new(),
            submitted: BTreeMap::new(),
            faults: Faults::default(),
            counters: Counters::default(),
            journal,
            last_body: BTreeMap::new(),
        }
    }

    /// The emulator's time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The `Date` of the answer to a call (RFC 9110 §6.6.1): the time by which its signature was judged.
    pub fn date(&self, begun: &Begun) -> Option<http::HeaderValue> {
        let time = jiff::Timestamp::from_millisecond((self.now() + begun.skew()).0).ok()?;
        time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string().parse().ok()
    }

    /// A call comes in: an id for it, and the faults that strike it.
    pub fn begin(&mut self, call: &Call, batch: &ReadBatch) -> Begun {
        let names: Vec<String> = match batch {
            Some(Ok(batch)) => {
                batch.changes.iter().map(|change| plain_name(&change.set.name)).collect()
            }
            _ => Vec::new(),
        };
        let claim = sigv4::claim(&call.headers).ok();
        let caller = claim.and_then(|claim| self.identities.caller(&claim.access_key_id));
        if let (Service::Route53, Some(caller)) = (call.action.service(), caller) {
            self.counters.called(&caller.account, &caller.arn, self.clock.now());
        }
        let account = caller.map(|caller| caller.account.clone());
        let facts = CallFacts {
            account: account.as_ref(),
            action: call.action,
            zone: call.zone.as_deref(),
            names: &names,
            now: self.clock.now(),
        };
        let effects = self.faults.strike(&facts, &mut self.ids);
        let mut latency_ms = 0;
        for effect in &effects {
            if let FaultEffect::Latency { min_ms, max_ms } = effect {
                latency_ms += min_ms + self.ids.below(max_ms.saturating_sub(*min_ms) + 1);
            }
        }
        let zone = call.zone.as_deref().and_then(|id| ZoneId::parse(id).ok());
        let in_flight =
            zone.filter(|zone| call.action.changes_zone() && self.zones.contains_key(zone));
        if let Some(zone) = &in_flight {
            self.counters.enter(zone);
        }
        Begun { request_id: self.ids.uuid(), effects, latency_ms, in_flight, account }
    }

    /// The call has been answered, or will never be.
    pub fn end(&mut self, begun: &Begun) {
        if let Some(zone) = &begun.in_flight {
            self.counters.leave(zone);
        }
    }

    /// The zone of a call, when it belongs to the caller's account.
    pub fn zone_of(&mut self, call: &Call, caller: &Caller) -> Result<&mut Zone, AwsError> {
        let id = call.zone.as_deref().unwrap_or_default();
        let zone = ZoneId::parse(id).ok().and_then(|id| self.zones.get_mut(&id));
        zone.filter(|zone| zone.account == caller.account).ok_or_else(|| AwsError::no_such_zone(id))
    }

    /// `PriorRequestNotComplete`, while the zone is busy or frozen.
    pub fn check_busy(
        &mut self,
        call: &Call,
        begun: &Begun,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<(), AwsError> {
        let frozen =
            begun.effects.iter().any(|effect| matches!(effect, FaultEffect::FreezeZone {}));
        let zone = self.zone_of(call, caller)?;
        if frozen || now < zone.busy_until { Err(AwsError::prior_request()) } else { Ok(()) }
    }

    /// Judges, applies, journals and propagates a batch.
    pub fn write(
        &mut self,
        id: &ZoneId,
        changes: &[RecordChange],
        write: Write<'_>,
    ) -> Result<ChangeInfo, AwsError> {
        let now = self.clock.now();
        let zone = self.zones.get_mut(id).ok_or_else(|| AwsError::no_such_zone(id.as_str()))?;
        let account = self.accounts.get(&zone.account);
        let quota = account.map_or(u64::MAX, |account| account.config.record_quota);
        let quotas = write.effects.iter().filter_map(|effect| match effect {
            FaultEffect::ZoneQuota { quota } => Some(*quota),
            _ => None,
        });
        let rules = Rules {
            switches: &self.config.switches,
            record_quota: quotas.min().unwrap_or(quota),
            health_checks: self.config.health_checks.as_deref(),
            barriers: barriers(write.effects, &self.config.switches.protection_message),
        };
        let (applied, effect) = batch::apply(zone, changes, &rules)?;
        let due = now + Millis(i64::try_from(self.config.propagation_ms).unwrap_or(i64::MAX));
        zone.propagate(effect, due);
        zone.version += 1;
        let (zone_name, owner) = (zone.name.clone(), zone.account.clone());
        if write.origin == Origin::Request {
            let idle = applied.iter().filter(|change| {
                change.action == ChangeAction::Upsert && change.before == change.after
            });
            let upsert_cost = account.map_or(2, |account| account.limiter.upsert_cost());
            let idle = idle.count() as u64;
            self.counters.applied(
                &owner,
                now,
                changes.len() as u64,
                cost(changes, upsert_cost),
                idle,
            );
        }
        let info = self.submit(write.comment.clone(), now, due);
        self.journal.append(JournalEntry {
            number: self.journal.next_number(),
            at: now,
            origin: write.origin,
            account: owner,
            principal: write.principal.to_owned(),
            request_id: write.request_id.to_owned(),
            zone: id.clone(),
            zone_name,
            change_id: info.id.clone(),
            comment: write.comment,
            body_sha256: write.body_sha256,
            changes: applied,
        });
        Ok(info)
    }

    /// A new change id.
    pub fn submit(
        &mut self,
        comment: Option<String>,
        now: Timestamp,
        due: Timestamp,
    ) -> ChangeInfo {
        let id = self.ids.text("C", 20);
        self.submitted.retain(|_, submitted| now.since(submitted.at) < CHANGE_KEPT);
        self.submitted.insert(id.clone(), Submitted { at: now, due, comment: comment.clone() });
        ChangeInfo { id, in_sync: due <= now, submitted_at: now, comment }
    }

    /// Writes in the place of another writer: judged like a request, but without a caller, tokens or a busy zone.
    pub fn foreign_write(
        &mut self,
        zone: &ZoneId,
        changes: &[RecordChange],
    ) -> Result<ChangeInfo, AwsError> {
        let request_id = self.ids.uuid();
        let write = Write {
            origin: Origin::Foreign,
            principal: "arn:aws:iam::000000000000:user/somebody-else",
            request_id: &request_id,
            comment: None,
            body_sha256: String::new(),
            effects: &[],
        };
        self.write(zone, changes, write)
    }

    /// Everything that is counted.
    pub fn report(&mut self) -> CountersReport {
        let now = self.clock.now();
        let levels =
            self.accounts.iter_mut().map(|(id, account)| (id.clone(), account.limiter.levels(now)));
        let levels = levels.collect();
        self.counters.report(levels)
    }
}

/// The writer and metadata of a batch.
pub(super) struct Write<'a> {
    pub origin: Origin,
    pub principal: &'a str,
    pub request_id: &'a str,
    pub comment: Option<String>,
    pub body_sha256: String,
    pub effects: &'a [FaultEffect],
}

/// An owner name without its final dot and in lower case, for patterns.
fn plain_name(name: &str) -> String {
    DnsName::parse(name).map_or_else(|_| name.to_owned(), |name| name.to_string())
}

fn skew_of(effect: &FaultEffect) -> i64 {
    match effect {
        FaultEffect::ClockSkew { skew_ms } => *skew_ms,
        _ => 0,
    }
}

fn barriers(effects: &[FaultEffect], protection_message: &str) -> Vec<Barrier> {
    let barrier = |effect: &FaultEffect| match effect {
        FaultEffect::PoisonRecord { name, rtype, message } => {
            Some(Barrier { name: name.clone(), rtype: *rtype, message: message.clone() })
        }
        FaultEffect::Protected { name, rtype, comment } => {
            let message = protection_message
                .replace("{name}", name.as_str())
                .replace("{type}", rtype.map_or("any", |rtype| rtype.as_str()))
                .replace("{comment}", comment);
            Some(Barrier { name: name.clone(), rtype: *rtype, message })
        }
        _ => None,
    };
    effects.iter().filter_map(barrier).collect()
}

/// The cost of a batch in the bucket of changes.
pub(super) fn cost(changes: &[RecordChange], upsert_cost: u64) -> u64 {
    changes
        .iter()
        .map(|change| if change.action == ChangeAction::Upsert { upsert_cost } else { 1 })
        .sum()
}

/// A new zone id.
pub(super) fn new_zone_id(ids: &mut IdSource) -> ZoneId {
    // `Z` and capitals and digits are an id by construction; the retry is for the type.
    loop {
        if let Ok(id) = ZoneId::parse(ids.text("Z", 20)) {
            return id;
        }
    }
}

/// Four name servers, as Route 53 names them.
pub(super) fn name_servers(ids: &mut IdSource) -> Vec<String> {
    let tops = [("com", 0), ("net", 512), ("org", 1_024), ("co.uk", 1_536)];
    let server = |(top, base): (&str, u64)| {
        let number = base + ids.below(512);
        format!("ns-{number}.awsdns-{:02}.{top}", number % 64)
    };
    tops.map(server).into()
}
