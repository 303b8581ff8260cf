//! The disk of the store is full. The file systems are small ones in memory; mounting them takes root, by sudo if need be.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::agents::Load;
use super::oracle::{assert_unbroken, one_call_a_zone_at_a_time, one_replica_at_a_time};
use super::site::{ChaosSite, REPLICAS};
use crate::support::network::try_get;
use crate::support::postgres;
use crate::support::wait::eventually;
use crate::support::world::temporary;

/// Unmounts when its standard input ends, which is when the test is over, however that comes.
const WATCHDOG: &str = r#"cat >/dev/null; $AS umount --lazy "$DISK"; rmdir "$DISK""#;

/// A file system of a few megabytes.
struct SmallDisk {
    path: PathBuf,
    watchdog: Option<(Child, ChildStdin)>,
}

impl SmallDisk {
    fn mount(megabytes: u32) -> Self {
        let path = temporary("disk");
        let sudo: &[&str] = if is_root() { &[] } else { &["sudo", "--non-interactive"] };
        let words = [sudo, &["mount", "-t", "tmpfs", "-o"]].concat();
        let mut mount = Command::new(words[0]);
        mount
            .args(&words[1..])
            .arg(format!("size={megabytes}m,mode=0777"))
            .args(["tmpfs".as_ref(), path.as_os_str()]);
        let output = mount.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "a full disk needs a small file system, and {mount:?} failed: run this as root: {said}"
        );
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", WATCHDOG]).env("AS", sudo.join(" ")).env("DISK", &path);
        let mut watchdog = watchdog
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pipe = watchdog.stdin.take().unwrap();
        Self { path, watchdog: Some((watchdog, pipe)) }
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut ballast =
            std::fs::File::options().create(true).append(true).open(self.ballast()).unwrap();
        for page in [64 * 1024, 4 * 1024] {
            while ballast.write_all(&vec![0; page]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let Some((mut watchdog, pipe)) = self.watchdog.take() else { return };
        drop(pipe);
        let _ended = watchdog.wait();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8_lossy(&id.stdout).trim() == "0"
}

/// Waits, with the clusters at work, until something of theirs cannot be acked although the agents have a session.
async fn acks_stop(load: &mut Load, disk: &SmallDisk, site: &ChaosSite) {
    let mut unacked = 0;
    // An ack is late at times without any reason: this many looks in a row are none.
    while unacked < 40 {
        load.goes_on_during(tokio::time::sleep(std::time::Duration::from_millis(50))).await;
        unacked = if load.waits_for_acks() { unacked + 1 } else { 0 };
        if unacked == 0 {
            // Space that the database itself has given back is filled too.
            disk.fill();
        }
    }
    for replica in &site.replicas {
        let alive = try_get(replica.http, "/healthz").await;
        assert!(
            matches!(alive, Ok((200, _))),
            "a full disk ended a broker: {alive:?}\n{}",
            site.words()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_sqlite_stops_the_acks_and_nothing_else_and_is_made_up_for() {
    let disk = SmallDisk::mount(12);
    let store = format!("sqlite:{}", disk.path().join("broker.db").display());
    let mut site = ChaosSite::on(store, 1).await;
    let mut load = Load::start(&site, 404_031).await;
    disk.fill();
    acks_stop(&mut load, &disk, &site).await;
    disk.free();
    load.acked().await;
    load.comes_true(&site).await;
    one_call_a_zone_at_a_time(&site);
    // And a broker that dies while the disk is full.
    disk.fill();
    acks_stop(&mut load, &disk, &site).await;
    site.kill(0).await;
    disk.free();
    site.revive(0).await;
    load.comes_true(&site).await;
    load.survives_everybody(&mut site).await;
    assert_unbroken(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_postgresql_stops_the_acks_and_nothing_else_and_is_made_up_for() {
    let disk = SmallDisk::mount(96);
    let server = postgres::own(
        disk.path(),
        &["max_wal_size=8MB", "min_wal_size=2MB", "shared_buffers=16MB"],
    )
    .await;
    let mut site = ChaosSite::on(server.database().await, REPLICAS).await;
    let mut load = Load::start(&site, 404_032).await;
    disk.fill();
    acks_stop(&mut load, &disk, &site).await;
    disk.free();
    // It crashes when its log cannot be written, and does not come back by itself while there is no room: an operator starts it.
    eventually("PostgreSQL runs", async || {
        if !server.runs() {
            tokio::task::block_in_place(|| server.start_again());
        }
        site.restart_ended().await;
        let answer = try_get(site.replicas[0].http, "/readyz").await;
        if matches!(answer, Ok((200, _))) { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    load.acked().await;
    load.comes_true(&site).await;
    one_replica_at_a_time(&site, 0).await;
    one_call_a_zone_at_a_time(&site);
    load.survives_everybody(&mut site).await;
    assert_unbroken(&site).await;
}
