//! The figures that each benchmark prints, and their meaning.

/// A figure that a benchmark prints.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Its key in the JSON object.
    pub key: &'static str,
    /// The goal; empty for a figure that only explains others.
    pub goal: &'static str,
    /// The meaning.
    pub meaning: &'static str,
}

const fn figure(key: &'static str, goal: &'static str, meaning: &'static str) -> Figure {
    Figure { key, goal, meaning }
}

/// The figures of `zonefold-bench drain`.
pub const DRAIN_FIGURES: &[Figure] = &[
    figure("bench", "", "drain"),
    figure(
        "operation",
        "",
        "create or update; an update is a DELETE and a CREATE in one call, two changes",
    ),
    figure("profile", "", "the buckets of the account, at the emulator and in the broker's budget"),
    figure("arrival", "", "whether all endpoints were durable before the account could be written"),
    figure(
        "accounts",
        "",
        "accounts that were drained at once, each with buckets and zones of its own",
    ),
    figure(
        "seconds",
        "",
        "from the first batch that the emulator applied to the last, by its journal; of the account farthest from its limit",
    ),
    figure(
        "limit_seconds",
        "",
        "what our part of the buckets allows: the largest of (needed - burst) / rate over the buckets",
    ),
    figure("ratio", "at most 1.05", "seconds / limit_seconds; null when the burst alone is enough"),
    figure("mean_ratio", "", "the same over all accounts, on average"),
    figure("throttled", "0", "calls that the emulator answered with Throttling"),
    figure("calls", "", "calls of ChangeResourceRecordSets, refused ones too"),
    figure("changes", "", "changes that the emulator applied"),
    figure(
        "needed_calls",
        "",
        "the fewest calls that can carry the changes: 1,000 records and 32,000 characters in each",
    ),
    figure(
        "published_limit_seconds",
        "",
        "the same limit without our margin and reserve: what AWS's buckets would allow",
    ),
    figure("busy", "", "calls that met a zone still at work (PriorRequestNotComplete)"),
    figure("requests", "", "all calls of Route 53 from the first publication on, reads too"),
    figure(
        "durable_seconds",
        "",
        "from the first publication to the last acknowledgement that an endpoint is durable",
    ),
    figure(
        "wall_seconds",
        "",
        "from the first publication to the last applied batch, waiting for the account included",
    ),
    figure("endpoints", "", "endpoints published in the measured run, for each account"),
    figure("clusters", "", "clusters that published, each over a gRPC session of its own"),
    figure("zones", "", "hosted zones of each account"),
    figure("spread", "", "how the endpoints of an account are spread over its zones"),
    figure("reserve_percent", "", "the part of the buckets that is left to others"),
    figure("signature", "", "whether the emulator checked signatures"),
    figure("seed", "", "the seed of names, addresses, ids and jitter"),
];

/// The figures of `zonefold-bench latency`.
pub const LATENCY_FIGURES: &[Figure] = &[
    figure("bench", "", "latency"),
    figure(
        "idle_p50_ms",
        "at most 50",
        "half of the single changes on an idle broker took no longer",
    ),
    figure("idle_p99_ms", "at most 250", "99 of 100 of them took no longer"),
    figure("idle_max_ms", "", "the slowest of them"),
    figure("idle_samples", "", "how many of them"),
    figure(
        "flood_p50_ms",
        "",
        "half of the quiet cluster's changes under the flood took no longer",
    ),
    figure("flood_p99_ms", "at most 1000", "99 of 100 of them took no longer"),
    figure("flood_max_ms", "", "the slowest of them"),
    figure("flood_samples", "", "how many of them"),
    figure("arriving_p99_ms", "", "of those sent while the flood was still arriving"),
    figure("arriving_samples", "", "how many of those"),
    figure("flood_endpoints", "", "endpoints that the noisy cluster published at once"),
    figure("flood_durable_seconds", "", "how long it took until all of them were durable"),
    figure(
        "flood_applied",
        "",
        "how many of them were applied meanwhile: the noisy cluster is not starved either",
    ),
    figure("throttled", "", "calls that the emulator answered with Throttling"),
    figure("busy", "", "calls that met a zone still at work (PriorRequestNotComplete)"),
    figure("profile", "", "the buckets of the account, at the emulator and in the broker's budget"),
    figure(
        "clusters",
        "",
        "clusters with an open session; one is quiet, one is noisy, the others say nothing",
    ),
    figure("zones", "", "hosted zones, used in turn"),
    figure("reserve_percent", "", "the part of the buckets that is left to others"),
    figure("signature", "", "whether the emulator checked signatures"),
    figure("seed", "", "the seed of names, addresses, ids and jitter"),
];

/// The figures of `zonefold-bench idle`.
pub const IDLE_FIGURES: &[Figure] = &[
    figure("bench", "", "idle"),
    figure("clusters", "", "clusters with an open session, their heartbeats running"),
    figure(
        "requests_per_minute",
        "",
        "calls of Route 53 at the default intervals: what was counted, divided by `accelerated`",
    ),
    figure(
        "writes_per_minute",
        "0",
        "calls of ChangeResourceRecordSets as counted, divided by nothing",
    ),
    figure(
        "computed_requests_per_minute",
        "",
        "what the intervals and pages of 300 sets come to on paper, jitter left out",
    ),
    figure("counted_requests", "", "the calls of Route 53 in the measured time"),
    figure("counted_by_action", "", "the same by action"),
    figure(
        "sts_calls",
        "",
        "calls of STS in the measured time: sessions last an hour, so as a rule none",
    ),
    figure("seconds", "", "the measured time"),
    figure(
        "accelerated",
        "",
        "by how much the intervals of the sweep for drift and of discovery were divided",
    ),
    figure("drift_interval_secs", "", "the sweep's interval as measured"),
    figure("discovery_interval_secs", "", "the discovery's interval as measured"),
    figure("zones", "", "hosted zones of the one account"),
    figure("sets_per_zone", "", "record sets of ours in each"),
    figure("throttled", "", "calls that the emulator answered with Throttling"),
    figure("signature", "", "whether the emulator checked signatures"),
    figure("seed", "", "the seed of names, addresses, ids and jitter"),
];

/// The figures of `zonefold-bench ingest`.
pub const INGEST_FIGURES: &[Figure] = &[
    figure("bench", "", "ingest"),
    figure("store", "", "the database of the broker, and of the raw insert"),
    figure(
        "endpoints_per_second",
        "at least 50000",
        "endpoints over the time from the first message sent to the last durable acknowledgement",
    ),
    figure(
        "raw_per_second",
        "",
        "the same rows inserted by the driver alone, in transactions of the same size, into an empty database",
    ),
    figure("ratio", "at least 0.5", "endpoints_per_second / raw_per_second"),
    figure(
        "broker_cpu_us_per_endpoint",
        "",
        "microseconds of processor time of the broker's process for each endpoint",
    ),
    figure("seconds", "", "from the first message sent to the last durable acknowledgement"),
    figure("raw_seconds", "", "the time of the raw insert"),
    figure("commits", "", "transactions in which the endpoints became durable"),
    figure(
        "operations_per_commit",
        "",
        "endpoints in each, on average; the raw insert commits as many at once",
    ),
    figure("rss_mb", "", "resident memory of the broker's process at the end (VmRSS)"),
    figure("endpoints", "", "endpoints that were published, all of them new"),
    figure(
        "clusters",
        "",
        "clusters that published at once, each over a gRPC connection of its own",
    ),
    figure("seed", "", "the seed of the fleet"),
];

/// The figures of `zonefold-bench scale`.
pub const SCALE_FIGURES: &[Figure] = &[
    figure("bench", "", "scale"),
    figure(
        "rss_mb",
        "at most 600",
        "resident memory of the broker's process with all sessions open and nothing left to do (VmRSS)",
    ),
    figure("peak_rss_mb", "", "the most that it ever was before the restart (VmHWM)"),
    figure(
        "idle_cpu_percent",
        "at most 2",
        "processor time of the broker with nothing to do, at the default intervals, of one core",
    ),
    figure(
        "cold_start_seconds",
        "at most 15",
        "from the start of the process over a full store until /readyz answers 200",
    ),
    figure("cold_rss_mb", "", "resident memory then, before a cluster has connected"),
    figure(
        "reconnect_seconds",
        "",
        "all clusters at once after that start, until the last has its Welcome and all statuses",
    ),
    figure(
        "reconnect_bytes_per_cluster",
        "at most 32768",
        "bytes of a cluster's connection for that, both directions, on average",
    ),
    figure("reconnect_bytes_max", "", "the same for the cluster with the most"),
    figure(
        "change_cost_ratio",
        "at most 1.1",
        "change_cpu_us over that of small_endpoints endpoints in as many clusters, zones and accounts",
    ),
    figure(
        "change_cpu_us",
        "",
        "processor time of the broker for one changed address, from its message to its being in sync",
    ),
    figure("small_change_cpu_us", "", "the same with small_endpoints endpoints"),
    figure(
        "fill_seconds",
        "",
        "from the first message sent until the last endpoint was in sync at the emulator",
    ),
    figure("durable_seconds", "", "of that, until all endpoints were durable"),
    figure("fill_cpu_seconds", "", "processor time of the broker for the fill"),
    figure("bytes_per_endpoint", "", "rss_mb over the endpoints, in bytes"),
    figure("idle_seconds", "", "how long the idle broker was watched"),
    figure("changes", "", "single changes of each fleet"),
    figure("endpoints", "", "endpoints of the fleet"),
    figure("record_sets", "", "record sets that they became"),
    figure("clusters", "", "clusters, each with a session and a status stream"),
    figure("zones", "", "hosted zones"),
    figure("accounts", "", "AWS accounts"),
    figure("small_endpoints", "", "endpoints of the small fleet"),
    figure("seed", "", "the seed of the fleet"),
];

/// The figures of `zonefold-bench store`.
pub const STORE_FIGURES: &[Figure] = &[
    figure("bench", "", "store"),
    figure("store", "", "the database"),
    figure(
        "database_mb",
        "",
        "MiB of the fleet's database: every endpoint stored, applied and journalled",
    ),
    figure("bytes_per_endpoint", "", "the same for each endpoint, in bytes"),
    figure("tables_mb", "", "the same by table, its indexes included"),
    figure("churned_mb", "", "MiB after a day's churn"),
    figure("churned_tables_mb", "", "the same by table"),
    figure("vacuumed_mb", "", "MiB after a vacuum then"),
    figure("pruned_entries", "", "journal entries that were cut: all that ended before that day"),
    figure("pruned_mb", "", "MiB after that and another vacuum"),
    figure(
        "churned_endpoints",
        "",
        "endpoints that the day touched: six tenths changed, two added, two removed",
    ),
    figure("fill_seconds", "", "how long the fleet took to be stored"),
    figure("churn_seconds", "", "how long the day took"),
    figure("vacuum_seconds", "", "how long the first vacuum took"),
    figure("prune_seconds", "", "how long cutting the journal took"),
    figure("endpoints", "", "endpoints of the fleet"),
    figure("clusters", "", "clusters of the fleet"),
    figure("zones", "", "hosted zones"),
    figure("accounts", "", "AWS accounts"),
    figure("seed", "", "the seed of the fleet"),
];

/// The figures of `zonefold-bench failover`.
pub const FAILOVER_FIGURES: &[Figure] = &[
    figure("bench", "", "failover"),
    figure(
        "p50_ms",
        "",
        "from the kill of the replica that worked an account to the first change that another applied there: half",
    ),
    figure("p99_ms", "at most 10000", "99 of 100 of them took no longer"),
    figure("max_ms", "", "the slowest of them"),
    figure("rounds", "", "how often a replica was killed and started again"),
    figure(
        "peak_requests_per_second",
        "",
        "the most calls of an account in any second of the whole run, whoever made them",
    ),
    figure("peak_requests_in_10_seconds", "", "the same in any ten seconds"),
    figure(
        "allowed_requests_in_10_seconds",
        "",
        "what AWS's bucket gives in ten seconds: its capacity and the refill",
    ),
    figure("peak_changes_per_second", "", "the most changes of an account in any second"),
    figure("peak_changes_in_10_seconds", "", "the same in any ten seconds"),
    figure(
        "allowed_changes_in_10_seconds",
        "",
        "what AWS's bucket gives in ten seconds; null without a bucket for changes",
    ),
    figure("overdrawn", "0", "calls that found a bucket of AWS's too empty"),
    figure("throttled", "0", "calls that the emulator answered with Throttling"),
    figure(
        "most_calls_at_once_in_a_zone",
        "1",
        "calls that change one zone and were under way at the same time",
    ),
    figure(
        "interleaved",
        "0",
        "calls of a replica to an account between two calls of another that did not lose the lease",
    ),
    figure("calls", "", "all calls of Route 53"),
    figure("changes", "", "changes that the emulator applied"),
    figure("lost", "0", "names that did not hold at the end what was acknowledged last"),
    figure("replicas", "", "replicas that shared the database, each a process"),
    figure("accounts", "", "accounts that they shared"),
    figure("zones", "", "hosted zones of each account"),
    figure("changes_per_second", "", "changes of each account that were published in a second"),
    figure(
        "profile",
        "",
        "the buckets of each account, at the emulator and in the brokers' budget",
    ),
    figure("reserve_percent", "", "the part of the buckets that is left to others"),
    figure("signature", "", "whether the emulator checked signatures"),
    figure("seed", "", "the seed of names, addresses, ids and of which account is next"),
];

/// The figures of `zonefold-bench bounds`.
pub const BOUNDS_FIGURES: &[Figure] = &[
    figure("bench", "", "bounds"),
    figure(
        "rss_before_mb",
        "",
        "resident memory of the broker with all sessions open and nothing left to do",
    ),
    figure(
        "rss_hanging_mb",
        "",
        "the same after an account has hung while everything that it is to hold changed over and over",
    ),
    figure("rss_deaf_mb", "", "the same while agents read nothing of what they are told"),
    figure(
        "rss_after_mb",
        "",
        "the same after all agents came back at once, with nothing left to do",
    ),
    figure("peak_rss_mb", "", "the most that it ever was"),
    figure("tasks_before", "", "tasks of the broker with all sessions open and nothing left to do"),
    figure("tasks_hanging", "", "the most while the account hung"),
    figure("tasks_deaf", "", "the most while agents read nothing"),
    figure("tasks_reconnecting", "", "the most while all agents came back"),
    figure("tasks_after", "", "tasks at the end, ten seconds later at most"),
    figure(
        "innocent_p99_ms",
        "",
        "99 of 100 changes of a cluster that nothing is wrong with were applied within this time, at first",
    ),
    figure("innocent_hanging_p99_ms", "", "the same while the account hung"),
    figure("innocent_deaf_p99_ms", "", "the same while agents read nothing"),
    figure("innocent_reconnecting_p99_ms", "", "the same while all agents came back"),
    figure("reconnect_seconds", "", "until the last of them had its Welcome and all statuses"),
    figure("samples", "", "changes of the innocent cluster in each part"),
    figure("hanging_changes", "", "changes that were published for the account that hung"),
    figure("hanging_calls_at_once", "", "the most calls of a zone of it at once"),
    figure("deaf", "", "agents that read nothing"),
    figure("clusters", "", "clusters, each with a session and a status stream"),
    figure("endpoints", "", "endpoints of all clusters"),
    figure("zones", "", "hosted zones"),
    figure("accounts", "", "AWS accounts, of which one hung"),
    figure("seed", "", "the seed of the fleet"),
];

/// The figures of `zonefold-bench agent`.
pub const AGENT_FIGURES: &[Figure] = &[
    figure("bench", "", "agent"),
    figure(
        "rss_mb",
        "at most 48 with 10,000 objects",
        "the agent's resident memory with all objects read and all statuses told",
    ),
    figure("peak_rss_mb", "", "the most it ever had, from its start to the last change"),
    figure(
        "unjudged_rss_mb",
        "",
        "its memory when all objects were read and the broker had said nothing of them",
    ),
    figure("changed_rss_mb", "", "its memory after the last change"),
    figure(
        "answered_p50_ms",
        "",
        "from the API server's answer to a patch until its endpoint arrived: half took no longer",
    ),
    figure("answered_p99_ms", "at most 50", "99 of 100 of them took no longer"),
    figure("answered_max_ms", "", "the slowest of them"),
    figure(
        "sent_p50_ms",
        "",
        "the same from the moment before the patch was sent, the API server's work included",
    ),
    figure("sent_p99_ms", "", "99 of 100 of them took no longer"),
    figure("sent_max_ms", "", "the slowest of them"),
    figure(
        "start_seconds",
        "",
        "from the agent's start until everything had arrived, and it was known on both ends",
    ),
    figure("samples", "", "objects that were changed, one after the other"),
    figure("objects", "", "services and ingresses, in turn"),
    figure("endpoints", "", "endpoints that they ask for"),
    figure("object_bytes", "", "octets of an object as the API server answers it, on average"),
    figure("object_status", "", "whether the agent wrote Events on the objects that changed"),
    figure("seed", "", "the seed of which objects are changed"),
];
