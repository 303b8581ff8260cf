//! When nothing else was wrong: some rules state bounds that hold only then.

use zonefold::core::time::{Millis, Timestamp};

use super::history::{Event, What};

/// Longer than anything that a schedule breaks stays broken.
const LONGEST_TROUBLE: Millis = Millis::from_secs(200);

/// Whether nothing of the kinds that `counts` names struck between two times or so shortly before that it may last, and no process
/// went or came.
pub fn is_calm(
    log: &[Event],
    from: Timestamp,
    to: Timestamp,
    counts: impl Fn(&str) -> bool,
) -> bool {
    let since = from + Millis(-LONGEST_TROUBLE.0);
    let events = log.iter().skip_while(|event| event.at < since);
    !events.take_while(|event| event.at <= to).any(|event| match &event.what {
        What::Fault { kind, .. } => counts(kind),
        What::Crashed(_) | What::Stopped(_) | What::Panicked { .. } => true,
        What::Started(_) => event.at > from,
        _ => false,
    })
}
