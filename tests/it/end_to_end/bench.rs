//! `zonefold-bench` as a process, with small numbers: what it prints, not how fast it is.

use std::process::Command;

use serde_json::Value;

pub fn figures(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_zonefold-bench"))
        .args(args)
        .args(["--output", "json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "one object and nothing else: {text}");
    serde_json::from_str(&text).unwrap()
}

/// The binary that is shipped measures nothing, and says which one does.
#[test]
fn the_shipped_binary_says_where_the_benchmarks_are() {
    for args in [&["bench"][..], &["bench", "drain", "--profile", "2026"], &["bench", "--help"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_zonefold")).args(args).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}: {text}");
        assert!(text.contains("cargo build --release --bin zonefold-bench"), "{text}");
    }
    let help = Command::new(env!("CARGO_BIN_EXE_zonefold")).arg("--help").output().unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("bench"));
}

/// A queue that fits into the burst goes out with one call a zone.
#[test]
fn a_queued_drain_needs_no_call_more_than_it_has_to() {
    let args = [
        "drain",
        "--operation",
        "update",
        "--profile",
        "legacy",
        "--endpoints",
        "40",
        "--clusters",
        "2",
        "--zones",
        "2",
    ];
    let figures = figures(&args);
    let counts =
        ["calls", "needed_calls", "changes", "throttled", "busy"].map(|key| figures[key].as_u64());
    assert_eq!(counts, [Some(2), Some(2), Some(80), Some(0), Some(0)], "{figures}");
    assert!(figures["ratio"].is_null() && figures["limit_seconds"] == 0.0, "{figures}");
}

/// Two seconds of an idle broker: nothing is written, and whatever is read is counted.
#[test]
fn an_idle_broker_writes_nothing() {
    let args = [
        "idle",
        "--clusters",
        "2",
        "--zones",
        "2",
        "--sets",
        "3",
        "--seconds",
        "2",
        "--accelerate",
        "60",
    ];
    let figures = figures(&args);
    assert_eq!(
        (figures["writes_per_minute"].as_f64(), figures["throttled"].as_u64()),
        (Some(0.0), Some(0)),
        "{figures}"
    );
    // Two zones of one page each every 600 s, and one list of zones every 300 s.
    assert_eq!(figures["computed_requests_per_minute"], 0.4, "{figures}");
}

/// Two replicas, one of which is killed: the other takes the account over, nothing is lost and no limit is broken.
#[test]
fn a_fail_over_loses_nothing_and_overdraws_nothing() {
    let args = [
        "failover",
        "--rounds",
        "1",
        "--replicas",
        "2",
        "--accounts",
        "1",
        "--zones",
        "2",
        "--changes-per-second",
        "10",
    ];
    let figures = figures(&args);
    let zeros = ["overdrawn", "throttled", "interleaved", "lost"].map(|key| figures[key].as_u64());
    assert_eq!(zeros, [Some(0); 4], "{figures}");
    assert_eq!(figures["most_calls_at_once_in_a_zone"], 1, "{figures}");
    assert!(figures["p50_ms"].as_i64() > Some(0), "{figures}");
}

/// A stuck part is stuck alone: the innocent cluster's changes are all applied, and no task is left over.
#[test]
fn stuck_parts_leave_no_task_behind() {
    let args = [
        "bounds",
        "--clusters",
        "20",
        "--endpoints",
        "400",
        "--zones",
        "10",
        "--accounts",
        "2",
        "--deaf",
        "3",
        "--samples",
        "5",
    ];
    let figures = figures(&args);
    let tasks = ["tasks_before", "tasks_after"].map(|key| figures[key].as_u64().unwrap());
    assert!(tasks[1] <= tasks[0] + 10, "{figures}");
    assert_eq!(figures["hanging_calls_at_once"], 1, "{figures}");
}

/// Nothing is made in a cluster that was not named, and a file that cannot be used is.
#[test]
fn an_agent_is_measured_in_a_cluster_that_is_named_and_in_no_other() {
    let refused = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zonefold-bench"));
        let output =
            command.arg("agent").args(args).env_remove("ZONEFOLD_KUBECONFIG").output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    let unnamed = refused(&[]);
    assert!(unnamed.contains("--kubeconfig <FILE>"), "{unnamed}");
    let missing = refused(&["--kubeconfig", "/nonexistent/kubeconfig"]);
    assert!(missing.contains("the kubeconfig /nonexistent/kubeconfig cannot be used"), "{missing}");
}
