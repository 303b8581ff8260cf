//! Programs of the virtual environment that the setup makes.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::network::try_get;
use super::process::Process;
use super::wait::eventually;

/// The path of a program, which has to be there.
pub fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/python/bin").join(name);
    assert!(path.exists(), "{} is not there: run make setup", path.display());
    path
}

/// Starts a server on a port of its own and waits until it answers. Another process can take the port between the question and
/// its use; then the server ends, and another port is tried.
pub async fn listening(name: &str, health: &str, command: impl Fn(SocketAddr) -> Command) -> (Process, SocketAddr) {
    for _ in 0..5 {
        let address = free_address();
        let mut process = Process::start(name, command(address));
        let what = format!("{name} answers");
        let answers = eventually(&what, async || match try_get(address, health).await {
            Ok((200, _)) => Ok(true),
            _ if process.has_ended() => Ok(false),
            other => Err(format!("{other:?}\n{}", process.output())),
        });
        if answers.await {
            return (process, address);
        }
        eprintln!("{name} ended:\n{}", process.output());
    }
    panic!("{name} does not start; its words stand above");
}

/// A free port below those that the system gives to connections, so that none of the other tests takes it meanwhile.
fn free_address() -> SocketAddr {
    let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    let random = || SocketAddr::from(([127, 0, 0, 1], fastrand::u16(10_000..32_000)));
    std::iter::repeat_with(random).find(is_free).unwrap()
}
