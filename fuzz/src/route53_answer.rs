//! Answers of Route 53: whatever stands where its XML is expected.

use zonefold::adapters::route53::offline::{Asked, Route53Answer, read_answer, through_the_sdk};
use zonefold::core::batch::refusal::culprits;
use zonefold::ports::CallError;

use super::record_set::check_canonical;

const STATUSES: [u16; 8] = [200, 400, 403, 404, 429, 500, 502, 503];

/// The first byte chooses the call and the status; the rest is the body.
pub fn run(data: &[u8]) {
    let Some((choice, body)) = super::split_choice(data) else { return };
    let asked = Asked::ALL[choice % Asked::ALL.len()];
    let status = STATUSES[choice / Asked::ALL.len() % STATUSES.len()];
    match read_answer(asked, status, body) {
        Ok(answer) => {
            assert_eq!(status, 200, "an error is no answer");
            check_answer(asked, &answer, body.len());
        }
        Err(error) => check_error(status, &error),
    }
}

/// The answer is of the call that was made, is no larger than its text, and goes back as it came.
fn check_answer(asked: Asked, answer: &Route53Answer, body_bytes: usize) {
    match (asked, answer) {
        (Asked::Zones, Route53Answer::Zones(page)) => assert!(page.zones.len() <= body_bytes),
        (Asked::Tags, Route53Answer::Tags(tags)) => assert!(tags.len() <= body_bytes),
        (Asked::Records, Route53Answer::Records(page)) => {
            assert!(page.sets.len() <= body_bytes);
            for raw in &page.sets {
                assert_eq!(
                    through_the_sdk(raw).as_ref(),
                    Some(raw),
                    "a DELETE repeats what was answered"
                );
                if let Ok(set) = raw.canonical() {
                    check_canonical(&set);
                }
            }
        }
        (Asked::Change, Route53Answer::Accepted(receipt)) => {
            assert!(receipt.change_id.len() <= body_bytes)
        }
        (Asked::Status, Route53Answer::InSync(_)) => {}
        (asked, answer) => panic!("{asked:?} was answered with {answer:?}"),
    }
}

/// What an answer of a gateway says is never taken for Route 53's word that nothing was applied.
fn check_error(status: u16, error: &CallError) {
    match error {
        CallError::Refused { message, .. } => {
            assert!(status < 500, "{error}");
            let _read = culprits(message);
        }
        CallError::Expired | CallError::Denied { .. } | CallError::NotFound { .. } => {
            assert!(status < 500, "{error}")
        }
        CallError::NotSent { .. } => panic!("it was answered: {error}"),
        CallError::Throttled
        | CallError::Busy
        | CallError::Unlisted { .. }
        | CallError::Unknown { .. } => {}
    }
}
