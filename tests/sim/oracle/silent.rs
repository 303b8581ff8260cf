//! 11: An agent whose connections fall silent leaves them, and is welcomed over another one.

use zonefold::core::invariants::Invariant;
use zonefold::core::time::Millis;

use super::Violation;
use super::calm::is_calm;
use super::history::{Commit, History, Told, What};

/// A ping that is not answered, a pause, and the way to a broker; twice, as the first try may meet a broker that is busy.
const LEFT_WITHIN: Millis = Millis::from_secs(60);

/// Where the network, the store and all processes do well otherwise, each agent has a session over a new connection soon.
pub fn judge(history: &History) -> Vec<Violation> {
    let log = &history.log;
    let mut violations = vec![];
    for (place, event) in log.iter().enumerate() {
        let What::Told(Told::Silent { agent }) = &event.what else { continue };
        let until = event.at + LEFT_WITHIN;
        let counts = |kind: &str| {
            ["net.", "store.", "stop.", "crash", "broker."]
                .iter()
                .any(|prefix| kind.starts_with(prefix) && kind != "net.silent")
        };
        let is_registered = !log[..place].iter().any(|event| {
            matches!(&event.what, What::Registered { cluster, .. } if *cluster == agent.cluster)
        });
        let is_over = |what: &What| matches!(what, What::Registered { .. } | What::Healed);
        let mut after = log[place..].iter().take_while(|event| event.at <= until);
        let is_left = after.clone().any(|event| match &event.what {
            What::Committed { commit: Commit::Session { cluster, .. }, .. } => {
                *cluster == agent.cluster
            }
            _ => false,
        });
        if is_left
            || !is_registered
            || after.any(|event| is_over(&event.what))
            || history.end.at < until
            || !is_calm(log, event.at, until, counts)
        {
            continue;
        }
        let what = format!(
            "the connections of {agent} fell silent, and it was welcomed over no other one within {} s",
            LEFT_WITHIN.0 / 1_000
        );
        violations.push(Violation::new(Invariant::Converges, until, what));
    }
    violations
}
