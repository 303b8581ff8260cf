//! How many workers look at names at the same time.
//!
//! A look is work for the processor alone, and after a flood all accounts have it to do at once. The rest of the machine is
//! for urgent work: commits, sessions, heartbeats.

use std::num::NonZero;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The gate that all workers of a broker share. It lets in by order of arrival.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// Lets in as many at once as half of the processors, and one at least.
    pub fn of_this_machine() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self::new((processors / 2).max(1))
    }

    /// Lets in a number at once.
    pub fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }
}

/// Being inside; ends when it is dropped.
pub type Inside = Option<OwnedSemaphorePermit>;

/// A worker before the gate.
pub struct GateTicket {
    gate: Gate,
    waiting: Option<BoxFuture<'static, Inside>>,
}

impl GateTicket {
    /// Before this gate, not waiting yet.
    pub fn before(gate: Gate) -> Self {
        Self { gate, waiting: None }
    }

    /// Waits to be let in. A worker that interrupts the wait for something short keeps its place; if it is let in meanwhile, it
    /// keeps others out, so before something long it has to give the place up with [`GateTicket::leave`].
    pub async fn enter(&mut self) -> Inside {
        let gate = &self.gate;
        // The gate is never closed; if it were, all would be inside.
        let waiting = self
            .waiting
            .get_or_insert_with(|| Arc::clone(&gate.0).acquire_owned().map(Result::ok).boxed());
        let inside = waiting.await;
        self.waiting = None;
        inside
    }

    /// Gives the place up.
    pub fn leave(&mut self) {
        self.waiting = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_let_in(place: &mut GateTicket) -> Option<Inside> {
        // `biased`, so that one poll decides.
        tokio::select! {
            biased;
            inside = place.enter() => Some(inside),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test]
    async fn who_does_something_else_meanwhile_keeps_its_place_and_who_leaves_holds_up_nobody() {
        let gate = Gate::new(1);
        let [mut first, mut second, mut third] =
            std::array::from_fn(|_| GateTicket::before(gate.clone()));
        let inside = is_let_in(&mut first).await;
        assert!(inside.is_some());
        assert!(is_let_in(&mut second).await.is_none() && is_let_in(&mut third).await.is_none());
        drop(inside);
        assert!(
            is_let_in(&mut third).await.is_none() && is_let_in(&mut first).await.is_none(),
            "the second came before"
        );
        second.leave();
        let inside = is_let_in(&mut third).await;
        assert!(inside.is_some() && is_let_in(&mut first).await.is_none());
        drop(inside);
        assert!(is_let_in(&mut first).await.is_some());
    }
}
