//! Where connections wait until a caller on them has proved who it is.
//!
//! The room is limited. When it is full, the oldest connection is closed for the next one, as soon as it has had time enough
//! to prove something; so silent connections neither stop the listener from accepting nor add up. Addresses count for nothing:
//! fleets come from behind one NAT.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How many may wait, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingLimits {
    /// Connections without a proven caller.
    pub most: usize,
    /// How long each is left alone, however many others want in.
    pub at_least: Duration,
    /// How long each may be without a proof; `None` if that is no reason to close it.
    pub at_most: Option<Duration>,
}

/// See the module's page. Clones are the same lobby.
#[derive(Clone)]
pub(super) struct Lobby(Arc<LobbyState>);

struct LobbyState {
    waiting: WaitingLimits,
    guests: Mutex<Guests>,
    /// One has left.
    left: Notify,
}

#[derive(Default)]
struct Guests {
    next: u64,
    /// In the order in which they came.
    here: BTreeMap<u64, Guest>,
}

struct Guest {
    came_at: Instant,
    closed: CancellationToken,
}

/// A connection's place in the lobby; it is given up by a proof, and when this is dropped.
pub(super) struct LobbyTicket {
    lobby: Lobby,
    number: u64,
    came_at: Instant,
    closed: CancellationToken,
}

impl Lobby {
    pub(super) fn new(waiting: WaitingLimits) -> Self {
        Self(Arc::new(LobbyState { waiting, guests: Mutex::default(), left: Notify::new() }))
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.0.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next place.
    pub(super) fn enter(&self) -> LobbyTicket {
        let (closed, came_at) = (CancellationToken::new(), Instant::now());
        let mut guests = self.guests();
        let number = guests.next;
        guests.next += 1;
        guests.here.insert(number, Guest { came_at, closed: closed.clone() });
        drop(guests);
        LobbyTicket { lobby: self.clone(), number, came_at, closed }
    }

    /// Returns when there is a place. Nothing is lost when this is dropped before.
    pub(super) async fn room(&self) {
        loop {
            let left = self.0.left.notified();
            let Some(first_may_go_at) = self.full_until() else { return };
            tokio::select! {
                () = left => {}
                () = tokio::time::sleep_until(first_may_go_at) => self.close_the_first(),
            }
        }
    }

    /// When the one that came first may be closed; `None` if there is room.
    fn full_until(&self) -> Option<Instant> {
        let guests = self.guests();
        if guests.here.len() < self.0.waiting.most {
            return None;
        }
        guests.here.first_key_value().map(|(_, guest)| guest.came_at + self.0.waiting.at_least)
    }

    fn close_the_first(&self) {
        let mut guests = self.guests();
        let is_due = guests
            .here
            .first_key_value()
            .is_some_and(|(_, guest)| guest.came_at.elapsed() >= self.0.waiting.at_least);
        if is_due && let Some((_, guest)) = guests.here.pop_first() {
            guest.closed.cancel();
        }
    }

    fn leave(&self, number: u64) {
        if self.guests().here.remove(&number).is_some() {
            self.0.left.notify_one();
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.guests().here.len()
    }
}

impl LobbyTicket {
    /// A caller on the connection has proved who it is: nothing closes it any more.
    pub(super) fn pass(&self) {
        self.lobby.leave(self.number);
    }

    /// Returns when the connection has to make room, or has been without a proof for too long; never after a proof.
    pub(super) fn closing(&self) -> Closing {
        let (lobby, number) = (self.lobby.clone(), self.number);
        let is_late = move || lobby.guests().here.contains_key(&number);
        Closing {
            closed: Box::pin(self.closed.clone().cancelled_owned()),
            late: self
                .lobby
                .0
                .waiting
                .at_most
                .map(|after| Box::pin(tokio::time::sleep_until(self.came_at + after))),
            is_late: Box::new(is_late),
        }
    }
}

impl Drop for LobbyTicket {
    fn drop(&mut self) {
        self.lobby.leave(self.number);
    }
}

/// See [`LobbyTicket::closing`].
pub(super) struct Closing {
    closed: std::pin::Pin<Box<WaitForCancellationFutureOwned>>,
    late: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
    is_late: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Future for Closing {
    type Output = ();

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        use std::task::Poll;
        if self.closed.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(late) = &mut self.late else { return Poll::Pending };
        if late.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.late = None;
        if (self.is_late)() { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const WAITING: WaitingLimits = WaitingLimits {
        most: 3,
        at_least: Duration::from_secs(2),
        at_most: Some(Duration::from_secs(20)),
    };

    #[tokio::test(start_paused = true)]
    async fn a_full_lobby_closes_the_first_when_it_had_its_time() {
        let lobby = Lobby::new(WAITING);
        let places: Vec<LobbyTicket> = (0..3).map(|_| lobby.enter()).collect();
        let mut first = places[0].closing();
        assert!(lobby.room().now_or_never().is_none(), "nobody is closed before its time");
        assert!((&mut first).now_or_never().is_none());
        lobby.room().await;
        assert!((&mut first).now_or_never().is_some(), "the first has gone");
        assert!(places[1].closing().now_or_never().is_none());
        assert_eq!(lobby.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_proves_something_or_goes_makes_room_at_once() {
        let lobby = Lobby::new(WAITING);
        let mut places: Vec<LobbyTicket> = (0..3).map(|_| lobby.enter()).collect();
        places[1].pass();
        assert!(lobby.room().now_or_never().is_some());
        places.push(lobby.enter());
        assert!(lobby.room().now_or_never().is_none());
        drop(places.remove(0));
        assert!(lobby.room().now_or_never().is_some());
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(places[0].closing().now_or_never().is_none(), "it has proved who it is");
    }

    #[tokio::test(start_paused = true)]
    async fn who_proves_nothing_in_time_is_closed_although_there_is_room() {
        let lobby = Lobby::new(WAITING);
        let (silent, proven) = (lobby.enter(), lobby.enter());
        let (of_silent, of_proven) = (silent.closing(), proven.closing());
        proven.pass();
        tokio::time::timeout(Duration::from_secs(21), of_silent).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(3_600), of_proven).await.is_err());
    }
}
