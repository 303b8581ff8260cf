//! The right to manage an account, as its worker sees it: without it no call to AWS begins, and none goes on.
//!
//! The store decides which replica holds a lease; this module computes how long that is certain. The time is this process's own
//! monotonic clock, counted from *before* the question was sent, so the lease ends here before it can pass on there. No call can
//! go past it: the worker's only way to Route 53 is a [`LeasedProvider`].

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::ids::{AccountId, ZoneId};
use crate::core::limits::budget::Permit;
use crate::core::planning::change::WireChange;
use crate::core::time::Millis;
use crate::ports::{
    CallError, CallerIdentity, ChangeReceipt, DnsProvider, RecordCursor, RecordPage, StoreError,
    Tenure, ZonePage,
};

/// How leases are kept.
#[derive(Clone, Debug)]
pub struct LeaseTiming {
    /// How long after a replica's last heartbeat its leases pass on.
    pub ttl: Duration,
    /// How often a replica sends a heartbeat.
    pub heartbeat_every: Duration,
    /// A call begins only while its lease lasts this long: as long as one takes when AWS is slow. One that takes longer yet is
    /// abandoned at the lease's end, and read back by the next holder.
    pub call_margin: Duration,
    /// How long a replica holds more than its share before it gives something back. Longer than the TTL: a
    /// replica that starts may have been seen before it was ready, and one that restarts is seen twice for a while.
    pub rebalance_after: Duration,
}

impl Default for LeaseTiming {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(7),
            heartbeat_every: Duration::from_secs(2),
            call_margin: Duration::from_secs(2),
            rebalance_after: Duration::from_secs(10),
        }
    }
}

impl LeaseTiming {
    pub(super) fn ttl_millis(&self) -> Millis {
        Millis(i64::try_from(self.ttl.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Until when a lease is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Term {
    /// The store has one replica: until another process takes it.
    Endless,
    /// Until this time, unless it is renewed.
    Until(Instant),
    /// It has passed on, or may have.
    Over,
}

/// See the module's page. All clones are one lease.
#[derive(Clone)]
pub struct Lease(Arc<Inner>);

struct Inner {
    tenure: Tenure,
    margin: Duration,
    term: watch::Sender<Term>,
    stop: CancellationToken,
}

impl Lease {
    /// A lease that does not run out. `stop` is how its worker is asked to give it back.
    pub fn endless(tenure: Tenure, stop: CancellationToken) -> Self {
        Self::new(tenure, Term::Endless, Duration::ZERO, stop)
    }

    /// A lease that lasts until a time; a call has to begin at least `margin` before.
    pub fn until(
        tenure: Tenure,
        until: Instant,
        margin: Duration,
        stop: CancellationToken,
    ) -> Self {
        Self::new(tenure, Term::Until(until), margin, stop)
    }

    fn new(tenure: Tenure, term: Term, margin: Duration, stop: CancellationToken) -> Self {
        Self(Arc::new(Inner { tenure, margin, term: watch::Sender::new(term), stop }))
    }

    /// Its account, holder and epoch in the store.
    pub fn tenure(&self) -> &Tenure {
        &self.0.tenure
    }

    /// Its account.
    pub fn account(&self) -> &AccountId {
        &self.0.tenure.account
    }

    /// Cancelled when the worker is to finish what runs, so that the lease can be given back.
    pub fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// The store has renewed it. A lease that is over stays over: the account may have changed meanwhile.
    pub fn renew(&self, until: Instant) {
        self.0.term.send_if_modified(|term| match term {
            Term::Until(before) if Instant::now() < *before && *before < until => {
                *before = until;
                true
            }
            Term::Until(_) | Term::Endless | Term::Over => false,
        });
    }

    /// It has passed on.
    pub fn lose(&self) {
        self.0.term.send_replace(Term::Over);
    }

    /// Takes an error of the store into account: a refusal for the lease's sake ends it.
    pub fn heed(&self, error: &StoreError) {
        if matches!(error, StoreError::Fenced(_)) {
            self.lose();
        }
    }

    /// Whether nothing may be done under it any more.
    pub fn is_over(&self) -> bool {
        match *self.0.term.borrow() {
            Term::Endless => false,
            Term::Until(until) => until <= Instant::now(),
            Term::Over => true,
        }
    }

    /// Whether a call may begin.
    pub fn allows_a_call(&self) -> bool {
        match *self.0.term.borrow() {
            Term::Endless => true,
            Term::Until(until) => Instant::now() + self.0.margin < until,
            Term::Over => false,
        }
    }

    /// Returns when it is over.
    pub async fn over(&self) {
        let mut term = self.0.term.subscribe();
        loop {
            let now = *term.borrow_and_update();
            let ends = async {
                match now {
                    Term::Endless => std::future::pending().await,
                    Term::Until(until) => tokio::time::sleep_until(until).await,
                    Term::Over => {}
                }
            };
            tokio::select! {
                () = ends => return,
                // The sender lives as long as this lease.
                _renewed = term.changed() => {}
            }
        }
    }

    /// Makes a call: it begins only with enough of the lease left, and it is abandoned when the lease is over, before it goes one
    /// step further. A process that was stopped for longer than its lease wakes up in the middle of a call.
    ///
    /// # Errors
    /// Those of the call; [`CallError::NotSent`] if it was not begun, [`CallError::Unknown`] if it was abandoned.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        if !self.allows_a_call() {
            let message = format!(
                "the lease of the account {} is not certain for long enough",
                self.account()
            );
            return Err(CallError::NotSent { message });
        }
        let mut call = pin!(call);
        std::future::poll_fn(|context| {
            if self.is_over() {
                let message =
                    format!("the lease of the account {} ended during the call", self.account());
                return Poll::Ready(Err(CallError::Unknown { message }));
            }
            call.as_mut().poll(context)
        })
        .await
    }
}

/// An account's Route 53, as long as the lease lasts.
pub struct LeasedProvider {
    provider: Arc<dyn DnsProvider>,
    lease: Lease,
}

impl LeasedProvider {
    /// The provider under this lease.
    pub fn new(provider: Arc<dyn DnsProvider>, lease: Lease) -> Self {
        Self { provider, lease }
    }

    /// Whether it is this provider.
    pub fn is(&self, provider: &Arc<dyn DnsProvider>) -> bool {
        Arc::ptr_eq(&self.provider, provider)
    }
}

#[async_trait]
impl DnsProvider for LeasedProvider {
    async fn identity(&self) -> Result<CallerIdentity, CallError> {
        self.lease.call(self.provider.identity()).await
    }

    async fn list_zones(
        &self,
        permit: Permit,
        marker: Option<String>,
    ) -> Result<ZonePage, CallError> {
        self.lease.call(self.provider.list_zones(permit, marker)).await
    }

    async fn zone_tags(
        &self,
        permit: Permit,
        zones: &[ZoneId],
    ) -> Result<BTreeMap<ZoneId, BTreeMap<String, String>>, CallError> {
        self.lease.call(self.provider.zone_tags(permit, zones)).await
    }

    async fn list_records(
        &self,
        permit: Permit,
        zone: &ZoneId,
        from: Option<RecordCursor>,
    ) -> Result<RecordPage, CallError> {
        self.lease.call(self.provider.list_records(permit, zone, from)).await
    }

    async fn change_records(
        &self,
        permit: Permit,
        zone: &ZoneId,
        comment: &str,
        changes: &[WireChange],
    ) -> Result<ChangeReceipt, CallError> {
        self.lease.call(self.provider.change_records(permit, zone, comment, changes)).await
    }

    async fn change_in_sync(&self, permit: Permit, change_id: &str) -> Result<bool, CallError> {
        self.lease.call(self.provider.change_in_sync(permit, change_id)).await
    }

    async fn refresh_credentials(&self) {
        self.provider.refresh_credentials().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::ports::{LeaseEpoch, ReplicaId};

    const MARGIN: Duration = Duration::from_secs(2);

    fn tenure() -> Tenure {
        let account = AccountId::parse("111111111111").unwrap();
        Tenure { account, holder: ReplicaId(uuid::Uuid::from_u128(1)), epoch: LeaseEpoch(1) }
    }

    fn lease_for(secs: u64) -> Lease {
        Lease::until(
            tenure(),
            Instant::now() + Duration::from_secs(secs),
            MARGIN,
            CancellationToken::new(),
        )
    }

    async fn pass(secs: u64) {
        tokio::time::advance(Duration::from_secs(secs)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_begins_only_while_enough_of_the_lease_is_left() {
        let lease = lease_for(7);
        let answer = || async { Ok::<_, CallError>(1) };
        assert_eq!(lease.call(answer()).await, Ok(1));
        pass(5).await;
        assert!(
            !lease.is_over()
                && matches!(lease.call(answer()).await, Err(CallError::NotSent { .. }))
        );
        lease.renew(Instant::now() + Duration::from_secs(7));
        assert_eq!(lease.call(answer()).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_out_when_the_lease_ends_takes_no_further_step() {
        let (lease, steps) = (lease_for(7), AtomicUsize::new(0));
        let call = lease.call(async {
            for _ in 0..9 {
                steps.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
            Ok(())
        });
        assert!(matches!(call.await, Err(CallError::Unknown { .. })));
        assert_eq!(steps.into_inner(), 3, "at 0, 3 and 6 seconds of 7");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_not_renewed() {
        let lease = lease_for(1);
        pass(1).await;
        lease.renew(Instant::now() + Duration::from_secs(7));
        assert!(lease.is_over());
        let lost = lease_for(7);
        lost.heed(&StoreError::Unavailable("away".to_owned()));
        assert!(!lost.is_over());
        lost.heed(&StoreError::Fenced(tenure().account));
        lost.renew(Instant::now() + Duration::from_secs(9));
        assert!(lost.is_over());
        lost.over().await;
    }

    #[tokio::test(start_paused = true)]
    async fn its_end_is_told_at_its_time_and_a_renewal_puts_it_off() {
        let (lease, started) = (lease_for(7), Instant::now());
        let other = lease.clone();
        let (renewed, ()) = tokio::join!(
            async {
                pass(5).await;
                other.renew(Instant::now() + Duration::from_secs(7));
                Instant::now()
            },
            lease.over(),
        );
        assert!(started.elapsed() >= Duration::from_secs(12) && renewed < Instant::now());
        let endless = Lease::endless(tenure(), CancellationToken::new());
        assert!(
            tokio::time::timeout(Duration::from_secs(1_000_000), endless.over()).await.is_err()
                && endless.allows_a_call()
        );
    }
}
