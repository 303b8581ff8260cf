//! Notifications on their way: made of the audit once, claimed by one replica at a time.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tracing::Instrument as _;

use super::codec::{from_json, parse, to_json, to_unsigned};
use super::error::corrupt;
use super::transaction::Transaction;
use super::value::{Input, Kind, Row, Value};
use super::{SqlStore, audit, in_transaction};
use crate::core::audit::AuditEntry;
use crate::core::governance::rule::subscription::Topic;
use crate::core::ids::RuleName;
use crate::core::time::Timestamp;
use crate::ports::{
    AuditRow, DeliveryEnd, NewNotice, NoticeFilter, NoticeRow, NoticeState, Notices, StoreError,
};

/// The most characters of a failure that are kept.
const MAX_FAILURE: usize = 500;

#[async_trait]
impl Notices for SqlStore {
    async fn untold(&self, limit: u32) -> Result<(i64, Vec<AuditRow>), StoreError> {
        in_transaction!(self.reading(), untold, limit)
    }

    async fn make_notices(
        &self,
        after: i64,
        through: i64,
        notices: &[NewNotice],
        most_waiting: u64,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        in_transaction!(self.writing(), make, after, through, notices, most_waiting, at)
    }

    async fn due_subscriptions(&self, now: Timestamp) -> Result<Vec<RuleName>, StoreError> {
        in_transaction!(self.reading(), due, now)
    }

    async fn claim_notice(
        &self,
        subscription: &RuleName,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<NoticeRow>, StoreError> {
        in_transaction!(self.writing(), claim, subscription, now, until)
    }

    async fn end_delivery(
        &self,
        notice: &NoticeRow,
        end: &DeliveryEnd,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        in_transaction!(self.writing(), ended, notice, end, at)
    }

    async fn give_up(
        &self,
        subscription: Option<&RuleName>,
        before: Timestamp,
        why: &str,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        in_transaction!(self.writing(), give_up, subscription, before, why, at)
    }

    async fn notices(&self, filter: &NoticeFilter) -> Result<Vec<NoticeRow>, StoreError> {
        in_transaction!(self.reading(), list, filter)
    }

    async fn resend(
        &self,
        seq: i64,
        subscription: &RuleName,
        at: Timestamp,
        audit: &[AuditEntry],
    ) -> Result<bool, StoreError> {
        in_transaction!(self.writing(), resend, seq, subscription, at, audit)
    }

    async fn prune_notices(&self, before: Timestamp) -> Result<u64, StoreError> {
        in_transaction!(self.writing(), prune, before)
    }
}

async fn told(transaction: &mut Transaction, lock: &str) -> Result<i64, StoreError> {
    let query = format!("select value from counters where name = 'noticed'{lock}");
    let row = transaction.fetch_optional(&query, []).await?;
    row.map_or(Ok(0), |row| row.int("value"))
}

async fn untold(
    transaction: &mut Transaction,
    limit: u32,
) -> Result<(i64, Vec<AuditRow>), StoreError> {
    let after = told(transaction, "").await?;
    Ok((after, audit::after(transaction, after, limit).await?))
}

const NEW: &[(&str, Kind)] = &[
    ("seq", Kind::Int),
    ("made_at", Kind::Int),
    ("ended_at", Kind::Int),
    ("subscription", Kind::Text),
    ("topic", Kind::Text),
    ("state", Kind::Text),
    ("failure", Kind::Text),
    ("body", Kind::Text),
];

const INSERT: &str = "
    insert into notices (seq, subscription, topic, made_at, attempts, next_at, claimed_until, state, ended_at, failure, body)
    select seq, subscription, topic, made_at, 0, made_at, 0, state, ended_at, failure, body from input
     where true on conflict (seq, subscription) do nothing";

async fn make(
    transaction: &mut Transaction,
    after: i64,
    through: i64,
    notices: &[NewNotice],
    most_waiting: u64,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let lock = transaction.for_update();
    if told(transaction, lock).await? != after {
        return Ok(false);
    }
    let waiting = "select subscription, count(*) as waiting from notices where state = 'waiting' group by subscription";
    let mut waiting: BTreeMap<String, u64> = transaction
        .fetch(waiting, [])
        .await?
        .iter()
        .map(|row| {
            let count = to_unsigned("number of notifications", row.int("waiting")?)?;
            Ok((row.text("subscription")?.to_owned(), count))
        })
        .collect::<Result<_, StoreError>>()?;
    let mut input = Input::new(NEW);
    for NewNotice { seq, notice } in notices {
        let waiting = waiting.entry(notice.subscription.to_string()).or_default();
        let is_too_many = *waiting >= most_waiting;
        let failure = is_too_many.then(|| format!("{most_waiting} notifications wait already"));
        let state = if is_too_many { NoticeState::Dead } else { NoticeState::Waiting };
        *waiting += u64::from(!is_too_many);
        input.push([
            (*seq).into(),
            at.0.into(),
            is_too_many.then_some(at.0).into(),
            notice.subscription.as_str().into(),
            notice.topic.as_str().into(),
            state.as_str().into(),
            failure.into(),
            to_json(notice)?.into(),
        ]);
    }
    transaction.execute_bulk(INSERT, input).await?;
    let update = "update counters set value = $1 where name = 'noticed'";
    transaction.execute(update, [through.into()]).await?;
    Ok(true)
}

async fn due(transaction: &mut Transaction, now: Timestamp) -> Result<Vec<RuleName>, StoreError> {
    let query = "
        select distinct subscription from notices
         where state = 'waiting' and next_at <= $1 and claimed_until <= $1 order by subscription";
    let rows = transaction.fetch(query, [now.0.into()]).await?;
    rows.iter().map(|row| parse("name of a subscription", row.text("subscription")?)).collect()
}

const COLUMNS: &str = "seq, subscription, topic, made_at, state, attempts, next_at, claimed_until, ended_at, failure, body";

fn read(row: &Row) -> Result<NoticeRow, StoreError> {
    let (topic, state) = (row.text("topic")?, row.text("state")?);
    let attempts = to_unsigned("number of tries", row.int("attempts")?)?;
    Ok(NoticeRow {
        seq: row.int("seq")?,
        subscription: parse("name of a subscription", row.text("subscription")?)?,
        topic: Topic::parse(topic).ok_or_else(|| corrupt("topic", topic))?,
        made_at: Timestamp(row.int("made_at")?),
        state: NoticeState::parse(state)
            .ok_or_else(|| corrupt("state of a notification", state))?,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        next_at: Timestamp(row.int("next_at")?),
        claimed_until: Timestamp(row.int("claimed_until")?),
        ended_at: row.int_or_null("ended_at")?.map(Timestamp),
        failure: row.text_or_null("failure")?.map(str::to_owned),
        notice: from_json("notification", row.text("body")?)?,
    })
}

async fn claim(
    transaction: &mut Transaction,
    subscription: &RuleName,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<NoticeRow>, StoreError> {
    let skip = if transaction.is_shared() { " for update skip locked" } else { "" };
    let query = format!(
        "update notices set claimed_until = $3
          where subscription = $1 and seq = (
            select seq from notices
             where subscription = $1 and state = 'waiting' and next_at <= $2 and claimed_until <= $2
             order by seq limit 1{skip})
        returning {COLUMNS}"
    );
    let arguments = [subscription.as_str().into(), now.0.into(), until.0.into()];
    transaction.fetch_optional(&query, arguments).await?.as_ref().map(read).transpose()
}

fn short(failure: &str) -> String {
    failure.chars().take(MAX_FAILURE).collect()
}

async fn ended(
    transaction: &mut Transaction,
    notice: &NoticeRow,
    end: &DeliveryEnd,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let (state, failure, next, failed) = match end {
        DeliveryEnd::Delivered => (NoticeState::Delivered, None, notice.next_at, 0),
        DeliveryEnd::Again { failure, at } => (NoticeState::Waiting, Some(short(failure)), *at, 1),
        DeliveryEnd::Dead { failure } => {
            (NoticeState::Dead, Some(short(failure)), notice.next_at, 1)
        }
    };
    let ended_at = (state != NoticeState::Waiting).then_some(at.0);
    let update = "
        update notices set state = $4, failure = $5, next_at = $6, ended_at = $7, attempts = attempts + $8, claimed_until = 0
         where seq = $1 and subscription = $2 and claimed_until = $3 and state = 'waiting'";
    let arguments = [
        notice.seq.into(),
        notice.subscription.as_str().into(),
        notice.claimed_until.0.into(),
        state.as_str().into(),
        failure.into(),
        next.0.into(),
        ended_at.into(),
        failed.into(),
    ];
    Ok(transaction.execute(update, arguments).await? > 0)
}

/// What is being delivered at this moment ends by itself.
async fn give_up(
    transaction: &mut Transaction,
    subscription: Option<&RuleName>,
    before: Timestamp,
    why: &str,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let update = "
        update notices set state = 'dead', failure = coalesce(failure, $3), ended_at = $4
         where state = 'waiting' and made_at < $1 and ($2 is null or subscription = $2) and claimed_until <= $4";
    let arguments = [
        before.0.into(),
        subscription.map(ToString::to_string).into(),
        short(why).into(),
        at.0.into(),
    ];
    transaction.execute(update, arguments).await
}

async fn list(
    transaction: &mut Transaction,
    filter: &NoticeFilter,
) -> Result<Vec<NoticeRow>, StoreError> {
    let mut sql = format!("select {COLUMNS} from notices where 1 = 1");
    let mut values: Vec<Value> = Vec::new();
    let mut only = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            values.push(value);
            sql.push_str(&condition.replace('#', &format!("${}", values.len())));
        }
    };
    only(" and state = #", filter.state.map(|state| state.as_str().into()));
    only(" and subscription = #", filter.subscription.as_ref().map(|name| name.as_str().into()));
    only(" and (seq < #", filter.after.as_ref().map(|(seq, _)| (*seq).into()));
    only(" or (seq = #", filter.after.as_ref().map(|(seq, _)| (*seq).into()));
    only(" and subscription > #))", filter.after.as_ref().map(|(_, name)| name.as_str().into()));
    only(" order by seq desc, subscription limit #", Some(i64::from(filter.limit).into()));
    transaction.fetch_values(sql, values).await?.iter().map(read).collect()
}

async fn resend(
    transaction: &mut Transaction,
    seq: i64,
    subscription: &RuleName,
    at: Timestamp,
    decided: &[AuditEntry],
) -> Result<bool, StoreError> {
    let update = "
        update notices set state = 'waiting', made_at = $3, next_at = $3, claimed_until = 0, attempts = 0, ended_at = null
         where seq = $1 and subscription = $2 and state = 'dead'";
    let arguments = [seq.into(), subscription.as_str().into(), at.0.into()];
    if transaction.execute(update, arguments).await? == 0 {
        return Ok(false);
    }
    audit::append(transaction, decided).await?;
    Ok(true)
}

async fn prune(transaction: &mut Transaction, before: Timestamp) -> Result<u64, StoreError> {
    let delete = "delete from notices where state <> 'waiting' and ended_at < $1";
    transaction.execute(delete, [before.0.into()]).await
}
