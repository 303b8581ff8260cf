//! The AWS accounts: whether each is managed, what its budget has left, and its zones.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::page::{Cursor, Limit, Page};
use super::peers::{Asker, Onward, Worked};
use super::problem::{ApiError, Problem};
use super::request::{NoParams, Params, identifier};
use super::sight::Sight;
use super::values::Time;
use super::zones::Zone;
use crate::broker::worker::{AccountSettings, AccountView, Health as WorkerHealth};
use crate::core::ids::{AccountId, EnvironmentId};
use crate::core::limits::budget::{BucketSnapshot, BudgetSnapshot};
use crate::core::time::{Millis, Timestamp};
use crate::ports::ReplicaId;

/// One AWS account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// The twelve digits.
    #[schema(value_type = String, example = "111111111111")]
    pub id: AccountId,
    /// Its name in the configuration.
    #[schema(example = "dev")]
    pub name: String,
    /// The environment that joins it with clusters.
    #[schema(value_type = String, example = "dev")]
    pub environment: EnvironmentId,
    /// Whether it is worked.
    pub health: Health,
    /// The replica that works it; none while it passes from one to another.
    #[schema(format = "uuid")]
    pub replica: Option<String>,
    /// Our part of its token buckets, now.
    pub budget: Budget,
    /// Names with something to send.
    pub pending: usize,
    /// When all that is pending is expected to have gone out; absent if nothing is pending or it cannot be estimated.
    pub drained_at: Option<Time>,
    /// Its zones, summed up.
    pub zones: ZoneSummary,
    /// When all of this but the budget was true.
    pub observed_at: Time,
}

/// An account with each of its zones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AccountWithZones {
    /// The account.
    pub account: Account,
    /// Its zones, by id.
    pub zones: Vec<Zone>,
}

/// Whether an account is worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Health {
    /// Its identity has not been confirmed yet.
    Starting,
    /// It is worked.
    Working,
    /// No replica works it at this moment; one takes it within seconds.
    Unworked,
    /// Nothing is called until the time has come.
    Parked {
        /// Why, and what to do.
        message: String,
        /// Since when.
        since: Time,
        /// When it is tried again.
        retry_at: Time,
    },
}

impl From<&WorkerHealth> for Health {
    fn from(health: &WorkerHealth) -> Self {
        match health {
            WorkerHealth::Starting => Self::Starting,
            WorkerHealth::Working => Self::Working,
            WorkerHealth::Parked { message, since, retry_at } => Self::Parked {
                message: message.clone(),
                since: Time(*since),
                retry_at: Time(*retry_at),
            },
        }
    }
}

/// Our part of an account's token buckets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Budget {
    /// All buckets.
    pub buckets: Vec<Bucket>,
    /// The share of the refill that throttling has left, above 0 and up to 1.
    #[schema(example = 1.0)]
    pub refill_share: f64,
    /// How often AWS throttled since the broker started.
    pub throttles: u64,
}

/// One token bucket; the reserve for others is not part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Bucket {
    /// `requests`, `changes` or the name of an action of Route 53.
    #[schema(example = "requests")]
    pub bucket: String,
    /// The tokens in it.
    #[schema(example = 39.0)]
    pub tokens: f64,
    /// The most that it holds.
    #[schema(example = 39.0)]
    pub capacity: f64,
    /// Tokens that flow in each second.
    #[schema(example = 8.0)]
    pub refill_per_second: f64,
}

impl Bucket {
    /// A worker publishes its levels when something happens; between that, tokens flow in as they always do.
    fn at(snapshot: &BucketSnapshot, elapsed: Millis) -> Self {
        let inflow = snapshot.refill_per_second * elapsed.to_duration().as_secs_f64();
        Self {
            bucket: snapshot.bucket.to_owned(),
            // Thousandths are enough for people, and read better.
            tokens: ((snapshot.tokens + inflow).min(snapshot.capacity) * 1_000.0).round() / 1_000.0,
            capacity: snapshot.capacity,
            refill_per_second: snapshot.refill_per_second,
        }
    }
}

impl Budget {
    fn at(snapshot: &BudgetSnapshot, elapsed: Millis) -> Self {
        Self {
            buckets: snapshot.buckets.iter().map(|bucket| Bucket::at(bucket, elapsed)).collect(),
            refill_share: snapshot.ceiling,
            throttles: snapshot.throttles,
        }
    }
}

/// The zones of an account, summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ZoneSummary {
    /// Whether zones were discovered since the broker started.
    pub discovered: bool,
    /// How many there are.
    pub zones: usize,
    /// Of those, no longer found by discovery.
    pub gone: usize,
    /// Of those, not called at present because something is wrong with them.
    pub troubled: usize,
    /// Record sets observed.
    pub records: usize,
    /// Of those, made by Zonefold.
    pub owned: usize,
    /// Changes that Route 53 refused and that wait for their content to change.
    pub refused: usize,
    /// Record sets of ours that another writer changed or removed.
    pub drifted: usize,
}

impl Account {
    /// Shows an account as its worker published it, with the budget of now.
    pub fn new(view: &AccountView, replica: ReplicaId, now: Timestamp) -> Self {
        Self {
            replica: Some(replica.to_string()),
            id: view.account.clone(),
            name: view.name.clone(),
            environment: view.environment.clone(),
            health: Health::from(&view.health),
            budget: Budget::at(&view.budget, now.since(view.at)),
            pending: view.pending,
            drained_at: view.drained_at.map(Time),
            zones: ZoneSummary {
                discovered: view.discovered,
                zones: view.zones.len(),
                gone: view.zones.iter().filter(|zone| !zone.visible).count(),
                troubled: view.zones.iter().filter(|zone| zone.trouble.is_some()).count(),
                records: view.zones.iter().map(|zone| zone.records).sum(),
                owned: view.zones.iter().map(|zone| zone.owned).sum(),
                refused: view.zones.iter().map(|zone| zone.refused).sum(),
                drifted: view.zones.iter().map(|zone| zone.drifted).sum(),
            },
            observed_at: Time(view.at),
        }
    }
}

impl Account {
    /// Shows an account that no replica manages at this moment.
    fn unworked(settings: &AccountSettings, now: Timestamp) -> Self {
        Self {
            id: settings.account.clone(),
            name: settings.name.clone(),
            environment: settings.environment.clone(),
            health: Health::Unworked,
            replica: None,
            budget: Budget { buckets: vec![], refill_share: 1.0, throttles: 0 },
            pending: 0,
            drained_at: None,
            zones: ZoneSummary::default(),
            observed_at: Time(now),
        }
    }
}

/// Which accounts.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only of this environment.
    #[param(value_type = Option<String>, example = "dev")]
    pub environment: Option<EnvironmentId>,
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<AccountId>>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

/// All accounts, by id.
#[utoipa::path(get, path = "/api/v1/accounts", operation_id = "list_accounts", tag = "accounts", params(ListParams), responses(
    (status = 200, description = "A page of accounts.", body = Page<Account>),
    (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<ApiState>,
    sight: Sight,
    asker: Asker,
    onward: Onward,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Account>>, ApiError> {
    let now = state.broker.clock.now();
    let wanted = |environment: &EnvironmentId| {
        sight.of(environment)
            && params.environment.as_ref().is_none_or(|wanted| wanted == environment)
    };
    let (me, views, position) =
        (state.broker.replica.replica, state.broker.accounts(), |account: &Account| {
            account.id.clone()
        });
    let mut accounts: Vec<Account> = views
        .iter()
        .filter(|view| wanted(&view.environment))
        .map(|view| Account::new(view, me, now))
        .collect();
    if asker == Asker::Anybody {
        let configured = state.broker.workers.configured();
        let nowhere = configured
            .values()
            .filter(|settings| matches!(state.peers.worked(&settings.account), Worked::Nowhere));
        accounts.extend(
            nowhere
                .filter(|settings| wanted(&settings.environment))
                .map(|settings| Account::unworked(settings, now)),
        );
        accounts.sort_by_key(position);
    }
    let after = params.cursor.as_ref().map(|cursor| &cursor.0);
    let own = Page::of_sorted(accounts, after, params.limit, position);
    if asker == Asker::Replica {
        return Ok(Json(own));
    }
    Ok(Json(state.peers.merge(own, &state.peers.working(), &onward, params.limit, position).await))
}

/// One account, with each of its zones.
#[utoipa::path(get, path = "/api/v1/accounts/{id}", operation_id = "get_account", tag = "accounts",
    params(("id" = String, Path, description = "The account's twelve digits.", example = "111111111111")),
    responses(
        (status = 200, description = "The account.", body = AccountWithZones),
        (status = 400, description = "That is no account id.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such account.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The replica that works it does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(state): State<ApiState>,
    sight: Sight,
    asker: Asker,
    onward: Onward,
    Path(id): Path<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<AccountWithZones>, ApiError> {
    let id: AccountId = identifier(&id)?;
    let unknown = ApiError::NotFound {
        kind: "account",
        id: id.to_string(),
        remedy: "/api/v1/accounts lists those of the broker's configuration",
    };
    if !sight.of_account(&state, &id) {
        return Err(unknown);
    }
    if let Some(view) = state.broker.accounts().into_iter().find(|view| view.account == id) {
        let account = Account::new(&view, state.broker.replica.replica, state.broker.clock.now());
        return Ok(Json(AccountWithZones {
            account,
            zones: view.zones.iter().map(Zone::from).collect(),
        }));
    }
    match state.peers.worked(&id) {
        Worked::At(peer) if asker == Asker::Anybody => {
            state.peers.ask(&peer, &onward).await?.map(Json).ok_or(ApiError::NotWorked(id))
        }
        Worked::Nowhere if state.broker.workers.is_configured(&id) => Err(ApiError::NotWorked(id)),
        _ => Err(unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_flow_in_after_the_worker_s_last_word_and_never_over_the_rim() {
        let snapshot = BucketSnapshot {
            bucket: "requests",
            tokens: 1.0,
            capacity: 39.0,
            refill_per_second: 8.0,
        };
        assert_eq!(Bucket::at(&snapshot, Millis(0)).tokens, 1.0);
        assert_eq!(Bucket::at(&snapshot, Millis(500)).tokens, 5.0);
        assert_eq!(Bucket::at(&snapshot, Millis(60_000)).tokens, 39.0);
    }
}
