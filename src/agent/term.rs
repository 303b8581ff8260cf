//! The work of the leading agent only: speak to the broker, for as long as it leads.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::shared::{AgentRole, Shared};
use super::sources::SourceKind;

/// Runs `speak` each time that this agent leads, until it no longer does; an agent that is alone leads always. Ends with `stop`, or
/// when `speak` ends by itself.
pub(super) async fn while_leading<F: Future<Output = ()>>(
    leads: Option<watch::Receiver<bool>>,
    stop: CancellationToken,
    mut speak: impl FnMut() -> F,
) {
    let Some(mut leads) = leads else { return speak().await };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = until(&mut leads, true) => {}
        }
        tokio::select! {
            () = speak() => return,
            () = until(&mut leads, false) => {}
        }
    }
}

async fn until(leads: &mut watch::Receiver<bool>, wanted: bool) {
    if leads.wait_for(|leads| *leads == wanted).await.is_err() {
        // The sender ends with the agent.
        std::future::pending().await
    }
}

/// The time in which this agent leads. Another leader may have changed the broker's state since: it is asked for again, and until
/// all of it is compared with the cluster, absence says nothing.
pub(super) struct Term(Arc<Shared>);

impl Term {
    /// It begins.
    pub(super) fn begin(shared: Arc<Shared>, kinds: &[SourceKind]) -> Self {
        shared.write(|state| {
            state.role = AgentRole::Leads;
            state.statuses.start_over();
            kinds.iter().for_each(|kind| state.index.require_proof(*kind));
        });
        Self(shared)
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        self.0.write(|state| {
            state.role = AgentRole::StandsBy;
            state.statuses.start_over();
            // It may have been cut off in the middle of a session.
            state.publisher.disconnected();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::agent::index::Index;
    use crate::agent::session::publisher::{Identity, Publisher};

    #[tokio::test]
    async fn who_leads_again_has_to_hear_and_prove_everything_again() {
        let identity = Identity {
            cluster: "east".into(),
            kube_system_uid: "uid".into(),
            instance_id: "one".into(),
        };
        let shared = Shared::new(Index::new([SourceKind::Service]), Publisher::new(identity));
        let (sender, leads) = watch::channel(false);
        let (terms, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let running = tokio::spawn({
            let (shared, terms, stop) = (shared.clone(), terms.clone(), stop.clone());
            async move {
                while_leading(Some(leads), stop.clone(), || {
                    let (term, stop) =
                        (Term::begin(shared.clone(), &[SourceKind::Service]), stop.clone());
                    terms.fetch_add(1, Ordering::Relaxed);
                    async move {
                        stop.cancelled().await;
                        drop(term);
                    }
                })
                .await;
            }
        });
        for number in 1..=3 {
            sender.send_replace(true);
            shared.wait_until(|state| state.role == AgentRole::Leads).await;
            assert_eq!(terms.load(Ordering::Relaxed), number);
            shared.write(|state| {
                state.index.reset(SourceKind::Service, vec![]);
                assert!(state.index.awaits_proof(SourceKind::Service), "also the second time");
                state.index.prove(SourceKind::Service, vec![]);
            });
            sender.send_replace(false);
            shared
                .wait_until(|state| {
                    state.role == AgentRole::StandsBy && !state.statuses.is_complete()
                })
                .await;
        }
        stop.cancel();
        running.await.unwrap();
    }
}
