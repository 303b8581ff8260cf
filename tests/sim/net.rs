//! The network between agents and brokers: streams of bytes in memory, with delays, cuts and deaths of either end.
//!
//! A connection is two pipes. Each piece of bytes has the moment from which it can be read; a pipe never overtakes itself, but
//! one connection overtakes another. A loss on a TCP connection is a delay until the repetition, a partition holds what is under
//! way until it heals, and a peer that died without a word is found out by silence only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep};
use tonic::transport::server::Connected;

use crate::gate::Gate;
use crate::history::{Agent, Replica};
use crate::recorder::lock;

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the agent.
    ToBroker,
    /// From the broker.
    ToAgent,
}

impl Direction {
    fn index(self) -> usize {
        match self {
            Self::ToBroker => 0,
            Self::ToAgent => 1,
        }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Agent,
    Broker,
}

impl Side {
    fn reads(self) -> usize {
        match self {
            Self::Agent => Direction::ToAgent.index(),
            Self::Broker => Direction::ToBroker.index(),
        }
    }

    fn writes(self) -> usize {
        1 - self.reads()
    }

    fn index(self) -> usize {
        match self {
            Self::Agent => 0,
            Self::Broker => 1,
        }
    }
}

/// How the network is.
#[derive(Clone, Debug)]
pub struct Weather {
    /// How long a piece takes at least and at most, in milliseconds.
    pub latency_ms: (u64, u64),
    /// The chance that a piece has to be repeated.
    pub loss: f64,
    /// The capacity of a pipe before its writer has to wait: the socket buffers of both ends. With small ones a slow reader is felt
    /// at once.
    pub pipe_bytes: usize,
}

/// How a dead process's host treats its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The system of a process that died resets them.
    Reset,
    /// The machine is gone, and says nothing until it is back.
    Silent,
}

#[derive(Default)]
struct Pipe {
    pieces: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    last: Option<Instant>,
    closed: Option<Instant>,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    held: bool,
}

struct Connection {
    agent: Agent,
    broker: Replica,
    pipes: [Pipe; 2],
    gates: [Gate; 2],
    /// The ends that are gone without a word.
    silent: [bool; 2],
    dropped: [bool; 2],
    reset: bool,
}

impl Connection {
    fn wake(&mut self) {
        for pipe in &mut self.pipes {
            pipe.reader.take().into_iter().chain(pipe.writer.take()).for_each(Waker::wake);
        }
    }
}

struct Inner {
    random: fastrand::Rng,
    weather: Weather,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    /// By agent and broker: which directions are cut.
    cuts: BTreeMap<(Agent, u32), [u32; 2]>,
    /// By slot: who listens there.
    listeners: BTreeMap<u32, Listener>,
    /// The slots that take connections and never say a word on them.
    mute: BTreeSet<u32>,
}

/// One life of a broker that takes connections.
#[derive(Clone)]
struct Listener {
    replica: Replica,
    gate: Gate,
    connections: mpsc::UnboundedSender<io::Result<Stream>>,
}

/// The network.
#[derive(Clone)]
pub struct Network {
    inner: Arc<Mutex<Inner>>,
    changed: watch::Sender<u64>,
}

impl Network {
    /// A network without hosts.
    pub fn new(random: fastrand::Rng, weather: Weather) -> Self {
        let inner = Inner {
            random,
            weather,
            connections: BTreeMap::new(),
            next: 0,
            cuts: BTreeMap::new(),
            listeners: BTreeMap::new(),
            mute: BTreeSet::new(),
        };
        Self { inner: Arc::new(Mutex::new(inner)), changed: watch::Sender::new(0) }
    }

    /// A broker listens in the place of who listened in its slot before; what it is sent are its connections. A host that was
    /// silent until now resets what it does not know.
    pub fn listen(
        &self,
        replica: Replica,
        gate: Gate,
    ) -> mpsc::UnboundedReceiver<io::Result<Stream>> {
        let (connections, receiver) = mpsc::unbounded_channel();
        let mut inner = lock(&self.inner);
        inner.listeners.insert(replica.slot, Listener { replica, gate, connections });
        let is_silent = |connection: &&mut Connection| {
            connection.broker.slot == replica.slot && connection.silent[1]
        };
        for connection in inner.connections.values_mut().filter(is_silent) {
            connection.reset = true;
            connection.wake();
        }
        drop(inner);
        self.changed();
        receiver
    }

    /// A broker's process is gone.
    pub fn broker_died(&self, replica: Replica, death: Death) {
        let mut inner = lock(&self.inner);
        if inner.listeners.get(&replica.slot).is_some_and(|listener| listener.replica == replica) {
            inner.listeners.remove(&replica.slot);
        }
        inner.die(Side::Broker, death, |connection| connection.broker == replica);
    }

    /// An agent's process is gone.
    pub fn agent_died(&self, agent: &Agent, death: Death) {
        lock(&self.inner).die(Side::Agent, death, |connection| connection.agent == *agent);
    }

    /// Resets an agent's connections.
    pub fn reset(&self, agent: &Agent) {
        let mut inner = lock(&self.inner);
        for connection in
            inner.connections.values_mut().filter(|connection| connection.agent == *agent)
        {
            connection.reset = true;
            connection.wake();
        }
    }

    /// Holds the connections that an agent has now; new ones are not held. Answers which.
    pub fn hold(&self, agent: &Agent, directions: &[Direction]) -> Vec<u64> {
        let mut inner = lock(&self.inner);
        let mut held = vec![];
        for (id, connection) in
            inner.connections.iter_mut().filter(|(_, connection)| connection.agent == *agent)
        {
            directions.iter().for_each(|direction| connection.pipes[direction.index()].held = true);
            held.push(*id);
        }
        held
    }

    /// Lets them go on.
    pub fn release(&self, connections: &[u64]) {
        let mut inner = lock(&self.inner);
        for id in connections {
            if let Some(connection) = inner.connections.get_mut(id) {
                connection.pipes.iter_mut().for_each(|pipe| pipe.held = false);
                connection.wake();
            }
        }
    }

    /// From now on connections to a broker are made, and nothing comes through them in either direction; or they are sound again.
    /// Those that are there stay as they are.
    pub fn set_mute(&self, broker: u32, mute: bool) {
        let mut inner = lock(&self.inner);
        if mute {
            inner.mute.insert(broker);
        } else {
            inner.mute.remove(&broker);
        }
    }

    /// Cuts directions between an agent and a broker, or mends them again; cuts add up.
    pub fn cut(&self, agent: &Agent, broker: u32, directions: &[Direction]) {
        let mut inner = lock(&self.inner);
        let cut = inner.cuts.entry((agent.clone(), broker)).or_default();
        directions.iter().for_each(|direction| cut[direction.index()] += 1);
    }

    /// See [`Network::cut`].
    pub fn mend(&self, agent: &Agent, broker: u32, directions: &[Direction]) {
        let mut inner = lock(&self.inner);
        if let Some(cut) = inner.cuts.get_mut(&(agent.clone(), broker)) {
            directions.iter().for_each(|direction| {
                cut[direction.index()] = cut[direction.index()].saturating_sub(1)
            });
        }
        inner.wake_all();
        drop(inner);
        self.changed();
    }

    /// Everything is mended, and nothing is lost or slow any more.
    pub fn heal(&self, weather: Weather) {
        let mut inner = lock(&self.inner);
        inner.cuts.clear();
        inner.mute.clear();
        inner.weather = weather;
        for connection in inner.connections.values_mut() {
            connection.pipes.iter_mut().for_each(|pipe| pipe.held = false);
        }
        inner.wake_all();
        drop(inner);
        self.changed();
    }

    /// A process goes on: what its system had for it is read now.
    pub fn resumed(&self) {
        lock(&self.inner).wake_all();
    }

    /// Another weather.
    pub fn set_weather(&self, weather: Weather) {
        lock(&self.inner).weather = weather;
    }

    fn changed(&self) {
        self.changed.send_modify(|generation| *generation += 1);
    }

    /// Connects an agent to some broker, as a load balancer would that does not know which of them live.
    ///
    /// # Errors
    /// No broker listens there.
    pub async fn connect(&self, agent: &Agent, gate: &Gate, brokers: u32) -> io::Result<Stream> {
        let broker = lock(&self.inner).random.u32(0..brokers.max(1));
        let mut changed = self.changed.subscribe();
        loop {
            gate.pass().await;
            let wait = {
                let mut inner = lock(&self.inner);
                let is_cut = inner
                    .cuts
                    .get(&(agent.clone(), broker))
                    .is_some_and(|cut| cut.iter().any(|cuts| *cuts > 0));
                (!is_cut).then(|| inner.delay())
            };
            match wait {
                Some(wait) => {
                    tokio::time::sleep(wait).await;
                    break;
                }
                None => {
                    // The sender lives as long as `self`.
                    let _changed = changed.changed().await;
                }
            }
        }
        let mut inner = lock(&self.inner);
        let Some(listener) = inner.listeners.get(&broker).cloned() else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let id = inner.next;
        inner.next += 1;
        let held = inner.mute.contains(&broker);
        let connection = Connection {
            agent: agent.clone(),
            broker: listener.replica,
            pipes: std::array::from_fn(|_| Pipe { held, ..Pipe::default() }),
            gates: [gate.clone(), listener.gate],
            silent: [false; 2],
            dropped: [false; 2],
            reset: false,
        };
        inner.connections.insert(id, connection);
        drop(inner);
        let of =
            |side| Stream { network: self.clone(), id, side, agent: agent.clone(), timer: None };
        listener
            .connections
            .send(Ok(of(Side::Broker)))
            .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(of(Side::Agent))
    }
}

impl Inner {
    fn delay(&mut self) -> Duration {
        let (least, most) = self.weather.latency_ms;
        let mut delay_ms = self.random.u64(least..=most.max(least));
        if self.weather.loss > 0.0 && self.random.f64() < self.weather.loss {
            delay_ms += self.random.u64(200..=1_200);
        }
        Duration::from_millis(delay_ms)
    }

    fn die(&mut self, side: Side, death: Death, is_concerned: impl Fn(&Connection) -> bool) {
        for connection in
            self.connections.values_mut().filter(|connection| is_concerned(connection))
        {
            match death {
                Death::Reset => connection.reset = true,
                Death::Silent => connection.silent[side.index()] = true,
            }
            connection.wake();
        }
    }

    fn wake_all(&mut self) {
        self.connections.values_mut().for_each(Connection::wake);
    }

    fn is_cut(&self, id: u64, direction: usize) -> bool {
        let Some(connection) = self.connections.get(&id) else { return false };
        connection.pipes[direction].held
            || connection.silent.iter().any(|silent| *silent)
            || self
                .cuts
                .get(&(connection.agent.clone(), connection.broker.slot))
                .is_some_and(|cut| cut[direction] > 0)
    }
}

/// One end of a connection.
pub struct Stream {
    network: Network,
    id: u64,
    side: Side,
    agent: Agent,
    timer: Option<Pin<Box<Sleep>>>,
}

/// The agent of a connection.
#[derive(Clone, Debug)]
pub struct Peer(pub Agent);

impl Connected for Stream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer(self.agent.clone())
    }
}

/// The result of a read.
enum Ready {
    Now,
    At(Instant),
    Never,
}

impl Stream {
    fn try_read(
        &self,
        inner: &mut Inner,
        buffer: &mut ReadBuf<'_>,
        waker: &Waker,
    ) -> io::Result<Ready> {
        let direction = self.side.reads();
        let is_cut = inner.is_cut(self.id, direction);
        let Some(connection) = inner.connections.get_mut(&self.id) else { return Ok(Ready::Now) };
        if connection.gates[self.side.index()].is_dead() || connection.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let is_stopped = connection.gates[self.side.index()].is_stopped();
        let pipe = &mut connection.pipes[direction];
        pipe.reader = Some(waker.clone());
        if is_cut || is_stopped {
            return Ok(Ready::Never);
        }
        let now = Instant::now();
        let mut read = 0;
        while let Some((at, piece)) = pipe.pieces.front_mut() {
            if *at > now && read == 0 {
                return Ok(Ready::At(*at));
            }
            if *at > now {
                break;
            }
            let length = piece.len().min(buffer.remaining());
            if length == 0 {
                break;
            }
            buffer.put_slice(&piece[..length]);
            piece.advance(length);
            read += length;
            pipe.bytes -= length;
            if piece.is_empty() {
                pipe.pieces.pop_front();
            }
        }
        if read > 0 {
            pipe.writer.take().into_iter().for_each(Waker::wake);
            return Ok(Ready::Now);
        }
        Ok(match pipe.closed {
            Some(at) if at <= now => Ready::Now,
            Some(at) => Ready::At(at),
            None => Ready::Never,
        })
    }

    fn try_write(&self, inner: &mut Inner, bytes: &[u8], waker: &Waker) -> Poll<io::Result<usize>> {
        let direction = self.side.writes();
        let answer_is_cut = inner.is_cut(self.id, self.side.reads());
        let (delay, pipe_bytes) = (inner.delay(), inner.weather.pipe_bytes);
        let Some(connection) = inner.connections.get_mut(&self.id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if connection.gates[self.side.index()].is_dead() || connection.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let is_stopped = connection.gates[self.side.index()].is_stopped();
        let pipe = &mut connection.pipes[direction];
        if pipe.closed.is_some() || (pipe.reader_gone && !answer_is_cut) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = pipe_bytes.saturating_sub(pipe.bytes);
        if room == 0 || is_stopped {
            pipe.writer = Some(waker.clone());
            return Poll::Pending;
        }
        let length = room.min(bytes.len());
        let at = pipe.last.map_or(Instant::now() + delay, |last| last.max(Instant::now() + delay));
        pipe.last = Some(at);
        pipe.bytes += length;
        pipe.pieces.push_back((at, Bytes::copy_from_slice(&bytes[..length])));
        pipe.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(length))
    }

    fn close(&self) {
        let mut inner = lock(&self.network.inner);
        let delay = inner.delay();
        let Some(connection) = inner.connections.get_mut(&self.id) else { return };
        let pipe = &mut connection.pipes[self.side.writes()];
        if pipe.closed.is_none() {
            let at = Instant::now() + delay;
            pipe.closed = Some(pipe.last.map_or(at, |last| last.max(at)));
        }
        pipe.reader.take().into_iter().for_each(Waker::wake);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = &mut *self;
        loop {
            let ready = stream.try_read(&mut lock(&stream.network.inner), buffer, cx.waker())?;
            let at = match ready {
                Ready::Now => return Poll::Ready(Ok(())),
                Ready::Never => return Poll::Pending,
                Ready::At(at) => at,
            };
            let timer = stream.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            match timer.as_mut().poll(cx) {
                Poll::Ready(()) => continue,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.try_write(&mut lock(&self.network.inner), bytes, cx.waker())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A process that is gone says no more than its host does.
        self.close();
        let mut inner = lock(&self.network.inner);
        let Some(connection) = inner.connections.get_mut(&self.id) else { return };
        connection.dropped[self.side.index()] = true;
        connection.pipes[self.side.reads()].reader_gone = true;
        connection.wake();
        if connection.dropped.iter().all(|dropped| *dropped) {
            inner.connections.remove(&self.id);
        }
    }
}
