//! Stores placements of endpoints that were stored without one: those that had to wait, and those whose decision was overtaken.
//!
//! It takes no orders: it looks at what is due ([`DuePlacements`](super::directory::due::DuePlacements)), decides by what is known
//! then, and stores that by compare-and-swap. Workers get only placements that the store holds, so whichever replica decides first
//! is right, and two never act on different places.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;

use super::decider::{DeciderMessage, Followed};
use super::directory::SharedDirectory;
use super::directory::entry::EndpointEntry;
use crate::ports::{EndpointNews, PlacementWrite, Store, StoreError};

/// How many decisions are stored in one transaction.
const AT_ONCE: usize = 1_000;
/// The wait before a retry if a decision could not be stored, or rested on something else than the store holds.
const AGAIN: Duration = Duration::from_secs(2);

/// See the module's page.
pub struct PlacementWriter {
    /// The endpoints and zones.
    pub directory: SharedDirectory,
    /// Keeps the placements.
    pub store: Arc<dyn Store>,
    /// Gets the stored placements.
    pub decider: mpsc::Sender<DeciderMessage>,
}

impl PlacementWriter {
    /// Places until the broker ends.
    pub async fn run(self) {
        loop {
            let due = match self.directory.due().take(AT_ONCE) {
                Ok(due) => due,
                Err(next) => {
                    let wake = async {
                        match next {
                            Some(at) => tokio::time::sleep_until(at).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = self.directory.due().noted() => {}
                        () = wake => {}
                    }
                    continue;
                }
            };
            let of = |held: EndpointEntry| {
                let decision = self.directory.decision(&held)?;
                Some((held, decision))
            };
            let (held, decisions): (Vec<EndpointEntry>, Vec<PlacementWrite>) =
                due.into_iter().filter_map(of).unzip();
            if decisions.is_empty() {
                continue;
            }
            match self.place(&held, decisions).await {
                Ok(()) => {}
                Err(CannotPlace::Ending) => return,
                Err(CannotPlace::Store(error)) => {
                    warn!(%error, endpoints = held.len(), "placements could not be stored, trying again");
                    held.iter().for_each(|held| self.directory.due().note_in(held, AGAIN));
                }
            }
        }
    }

    async fn place(
        &self,
        held: &[EndpointEntry],
        decisions: Vec<PlacementWrite>,
    ) -> Result<(), CannotPlace> {
        let holds = self.store.place(&decisions).await?;
        let (mut placed, mut overtaken) = (vec![], vec![]);
        for ((held, decision), holds) in held.iter().zip(&decisions).zip(holds) {
            if holds {
                placed.push((held.clone(), decision.placing.result()));
            } else {
                self.directory.due().note_in(held, AGAIN);
                overtaken.push(decision.arrival);
            }
        }
        if !placed.is_empty() {
            self.tell(DeciderMessage::Placed(placed)).await?;
        }
        if !overtaken.is_empty() {
            let rows = self.store.endpoints_at(&overtaken).await?;
            let news = rows.into_iter().map(|row| Followed::Endpoint(EndpointNews::Placed(row)));
            self.tell(DeciderMessage::Followed(news.collect())).await?;
        }
        Ok(())
    }

    async fn tell(&self, message: DeciderMessage) -> Result<(), CannotPlace> {
        self.decider.send(message).await.map_err(|_| CannotPlace::Ending)
    }
}

/// Why placing stopped.
#[derive(Debug, thiserror::Error)]
enum CannotPlace {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the broker ends")]
    Ending,
}
