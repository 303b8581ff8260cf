//! Notifications on their way, and what sends them.

use async_trait::async_trait;

use super::{AuditRow, StoreError};
use crate::core::audit::AuditEntry;
use crate::core::governance::rule::subscription::{NoticeSink, Topic};
use crate::core::ids::RuleName;
use crate::core::notice::Notice;
use crate::core::time::{Millis, Timestamp};

/// How a notification stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeState {
    /// It is to be delivered.
    Waiting,
    /// The sink took it.
    Delivered,
    /// It was tried for long enough, or cannot be delivered.
    Dead,
}

impl NoticeState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::Dead];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    /// Reads the word of a state.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A notification in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct NoticeRow {
    /// The entry of the audit that it tells of.
    pub seq: i64,
    /// For which subscription.
    pub subscription: RuleName,
    /// What it is about.
    pub topic: Topic,
    /// When it was made.
    pub made_at: Timestamp,
    pub state: NoticeState,
    /// How often its delivery failed.
    pub attempts: u32,
    /// When it is tried next, if it waits.
    pub next_at: Timestamp,
    /// Until when the replica that delivers it now has it to itself; known by this it says how that ended.
    pub claimed_until: Timestamp,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
    /// Why its last delivery failed.
    pub failure: Option<String>,
    /// What is sent.
    pub notice: Notice,
}

/// A notification that is made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewNotice {
    /// The entry of the audit that it tells of.
    pub seq: i64,
    /// What is sent.
    pub notice: Notice,
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryEnd {
    /// The sink took it.
    Delivered,
    /// It is tried again.
    Again {
        /// Why it failed.
        failure: String,
        /// When.
        at: Timestamp,
    },
    /// It is not tried again.
    Dead {
        /// Why it failed.
        failure: String,
    },
}

/// Which notifications are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoticeFilter {
    pub state: Option<NoticeState>,
    pub subscription: Option<RuleName>,
    /// Only those behind this one: the newest come first.
    pub after: Option<(i64, RuleName)>,
    pub limit: u32,
}

/// Notifications on their way. Each is delivered by one replica at a time: it claims it for some time first.
#[async_trait]
pub trait Notices: Send + Sync {
    /// The last entry of the audit of which subscribers were told, and the next ones, up to `limit`.
    async fn untold(&self, limit: u32) -> Result<(i64, Vec<AuditRow>), StoreError> {
        let _ = limit;
        Ok((0, vec![]))
    }

    /// Makes notifications of the entries behind `after` up to `through`; answers whether this was the first to do so, and if not, does
    /// nothing. Where `most_waiting` wait for a subscription, a further one is dead at once.
    async fn make_notices(
        &self,
        after: i64,
        through: i64,
        notices: &[NewNotice],
        most_waiting: u64,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let _ = (after, through, notices, most_waiting, at);
        Ok(false)
    }

    /// The subscriptions for which something is to be delivered now.
    async fn due_subscriptions(&self, now: Timestamp) -> Result<Vec<RuleName>, StoreError> {
        let _ = now;
        Ok(vec![])
    }

    /// Claims the oldest notification of a subscription that is due; `None` if there is none that nobody else has.
    async fn claim_notice(
        &self,
        subscription: &RuleName,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<NoticeRow>, StoreError> {
        let _ = (subscription, now, until);
        Ok(None)
    }

    /// Says how the delivery of a claimed notification ended; answers whether it was still claimed.
    async fn end_delivery(
        &self,
        notice: &NoticeRow,
        end: &DeliveryEnd,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let _ = (notice, end, at);
        Ok(false)
    }

    /// Gives up what waits and was made before a time, or is for a subscription, if one is given; answers how many.
    async fn give_up(
        &self,
        subscription: Option<&RuleName>,
        before: Timestamp,
        why: &str,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        let _ = (subscription, before, why, at);
        Ok(0)
    }

    /// Notifications, the newest first.
    async fn notices(&self, filter: &NoticeFilter) -> Result<Vec<NoticeRow>, StoreError> {
        let _ = filter;
        Ok(vec![])
    }

    /// Sends a dead notification again, with what the audit is to say of it; answers whether there is such a dead one.
    async fn resend(
        &self,
        seq: i64,
        subscription: &RuleName,
        at: Timestamp,
        audit: &[AuditEntry],
    ) -> Result<bool, StoreError> {
        let _ = (seq, subscription, at, audit);
        Ok(false)
    }

    /// Forgets what ended before a time; answers how many.
    async fn prune_notices(&self, before: Timestamp) -> Result<u64, StoreError> {
        let _ = before;
        Ok(0)
    }
}

/// Why a delivery failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryFailure {
    /// What happened, without secrets.
    pub message: String,
    /// Whether another try is of no use.
    pub is_final: bool,
    /// How long the sink asks to be left alone.
    pub retry_after: Option<Millis>,
}

/// Sends notifications to sinks.
#[async_trait]
pub trait NoticeSender: Send + Sync {
    /// Sends one, once.
    ///
    /// # Errors
    /// The sink did not take it.
    async fn send(&self, sink: &NoticeSink, notice: &Notice) -> Result<(), DeliveryFailure>;
}
