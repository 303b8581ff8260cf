//! An emulator of Route 53 and STS, with their limits, their texts and their faults, and a DNS view of what is published.
//!
//! It is the AWS of `zonefold dev` and the oracle of the tests. Three ports: AWS (signed requests of any SDK), control (JSON on
//! loopback: faults, time, journal, counters) and DNS (what the name servers have seen by now). All state sits behind one lock
//! in `state`; a call goes `server` → `dispatch` (who, tokens, permission) → `operations` or `batch` → `xml_write`.
//!
//! ```no_run
//! # async fn run(config: zonefold::emulator::EmulatorConfig) -> Result<(), zonefold::emulator::EmulatorError> {
//! let emulator = zonefold::emulator::Emulator::start(config).await?;
//! println!("AWS_ENDPOINT_URL=http://{}", emulator.bound().aws_addr);
//! emulator.control().step(30_000);
//! emulator.stop().await;
//! # Ok(())
//! # }
//! ```

mod action;
mod batch;
mod call;
mod clock;
mod config;
mod conflicts;
mod control;
mod counters;
mod dispatch;
mod dns_answer;
mod dns_server;
mod error;
mod faults;
mod handle;
mod identity;
mod ids;
mod in_process;
mod journal;
mod limiter;
mod messages;
mod names;
pub mod offline;
mod operations;
mod places;
mod request;
mod server;
mod service_values;
mod sigv4;
mod state;
mod sts;
mod value_problem;
mod values;
mod xml_read;
mod xml_write;
mod zone;

pub use action::{Action, Service};
pub use batch::AppliedChange;
pub use config::{
    AccessKeyConfig, AccountConfig, BucketConfig, ClockMode, ConfigError, DeleteComparison,
    EmulatorConfig, LimitsConfig, LimitsProfile, RoleConfig, Secret, SetIdentifierInMessages,
    SignatureMode, Switches, ThrottleOrder, ThrottledCalls, UpsertOrder, ZoneConfig,
};
pub use counters::{AccountCounters, CallerRun, CountersReport, RequestCount, WindowMax};
pub use error::{AwsError, Blame};
pub use faults::{FaultEffect, FaultMatch, FaultRule, FaultState, Moment};
pub use handle::{Control, ControlError, Snapshot, View, ZoneSummary};
pub use in_process::{Arrival, InProcess};
pub use journal::{JournalEntry, Origin};
pub use limiter::BucketLevel;
pub use request::{ChangeAction, RecordChange, Vpc};
pub use server::Cut;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use clock::EmulatorClock;
use journal::Journal;
use state::EmulatorState;

/// Why an emulator cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// The configuration is wrong.
    #[error("the emulator's configuration is wrong: {0}")]
    Config(#[from] ConfigError),
    /// A port cannot be had.
    #[error("the emulator cannot listen on {address} for {purpose}: {reason}")]
    Bind { address: SocketAddr, purpose: &'static str, reason: io::Error },
    /// The journal's file cannot be opened.
    #[error("the journal file {path} cannot be opened: {reason}")]
    Journal { path: String, reason: io::Error },
}

/// An emulator with its ports open that does not serve yet.
pub struct Bound {
    /// Route 53 and STS.
    pub aws_addr: SocketAddr,
    /// The control API.
    pub control_addr: SocketAddr,
    /// DNS, UDP and TCP; `None` if it is switched off.
    pub dns_addr: Option<SocketAddr>,
    control: Control,
    aws: TcpListener,
    control_listener: TcpListener,
    dns: Option<(UdpSocket, TcpListener)>,
}

/// The way in.
pub struct Emulator;

impl Emulator {
    /// Checks the configuration and opens the ports.
    pub async fn build(config: EmulatorConfig) -> Result<Bound, EmulatorError> {
        config.validate()?;
        let journal = open_journal(&config)?;
        let (aws, aws_addr) = listen(config.aws_listen, "AWS").await?;
        let (control_listener, control_addr) = listen(config.control_listen, "control").await?;
        let dns = match config.dns_listen {
            Some(address) => Some(dns_server::bind(address).await?),
            None => None,
        };
        let dns_addr = dns.as_ref().and_then(|(udp, _)| udp.local_addr().ok());
        let clock = Arc::new(EmulatorClock::new(config.clock));
        let world = Arc::new(Mutex::new(EmulatorState::new(config, clock.clone(), journal)));
        Ok(Bound {
            aws_addr,
            control_addr,
            dns_addr,
            control: Control { world, clock },
            aws,
            control_listener,
            dns,
        })
    }

    /// Builds and runs an emulator in the background.
    pub async fn start(config: EmulatorConfig) -> Result<EmulatorHandle, EmulatorError> {
        let bound = Self::build(config).await?;
        let addresses = Addresses {
            aws_addr: bound.aws_addr,
            control_addr: bound.control_addr,
            dns_addr: bound.dns_addr,
        };
        let control = bound.control();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(bound.run(shutdown.clone()));
        Ok(EmulatorHandle { addresses, control, shutdown, task })
    }
}

fn open_journal(config: &EmulatorConfig) -> Result<Journal, EmulatorError> {
    Journal::open(config.journal_file.as_deref()).map_err(|reason| EmulatorError::Journal {
        path: config
            .journal_file
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
        reason,
    })
}

async fn listen(
    address: SocketAddr,
    purpose: &'static str,
) -> Result<(TcpListener, SocketAddr), EmulatorError> {
    let failed = |reason| EmulatorError::Bind { address, purpose, reason };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

impl Bound {
    /// Steers the emulator in process.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Serves until the token is cancelled; calls in flight are answered, hanging ones are cut.
    pub async fn run(self, shutdown: CancellationToken) {
        let world = self.control.world.clone();
        let aws = server::serve(self.aws, world, shutdown.clone());
        let control = server::serve_router(
            self.control_listener,
            control::router(self.control.clone()),
            shutdown.clone(),
        );
        let dns = async {
            match self.dns {
                Some((udp, tcp)) => {
                    dns_server::serve(udp, tcp, self.control.clone(), shutdown.clone()).await
                }
                None => shutdown.cancelled().await,
            }
        };
        tokio::join!(aws, control, dns);
    }
}

/// Where an emulator listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Route 53 and STS.
    pub aws_addr: SocketAddr,
    /// The control API.
    pub control_addr: SocketAddr,
    /// DNS, UDP and TCP; `None` if it is switched off.
    pub dns_addr: Option<SocketAddr>,
}

/// A running emulator. Dropping the handle stops it without waiting.
pub struct EmulatorHandle {
    addresses: Addresses,
    control: Control,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl EmulatorHandle {
    /// Where it listens.
    pub fn bound(&self) -> Addresses {
        self.addresses
    }

    /// The endpoint for AWS clients.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.addresses.aws_addr)
    }

    /// Steers it.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Stops it and waits until it has.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        // The task ends by itself; if it panicked, it has ended as well.
        let _ = (&mut self.task).await;
    }
}

impl Drop for EmulatorHandle {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
