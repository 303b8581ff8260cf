//! AWS's time: calls are signed at it, and credentials expire by it.
//!
//! It is the system's time of day until AWS refuses a call that was signed minutes away from the `Date` of the refusal. From then
//! on calls are signed at AWS's time, so a machine whose clock is wrong goes on working. A system clock that is set right later
//! makes the correction wrong; the next refusal takes it back in the same way.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use aws_smithy_types::date_time::Format;

use crate::core::time::{Millis, Timestamp};
use crate::ports::Clock;

/// AWS accepts signatures up to five minutes old; a closer one was not refused for its time.
const TOLERATED: Millis = Millis::from_secs(240);
/// Our note on a refusal for the classifier: how far the signature's time was from AWS's, in milliseconds.
const OFF_BY: &str = "x-zonefold-signed-off-by-ms";

/// See the module's page. Clones share what was learned.
#[derive(Clone)]
pub(super) struct AwsTime {
    system: Arc<dyn Clock>,
    /// Added to the system's time; 0 while the two agree.
    ahead_ms: Arc<AtomicI64>,
}

impl AwsTime {
    /// AWS's time over the system's.
    pub(super) fn new(system: Arc<dyn Clock>) -> Self {
        Self { system, ahead_ms: Arc::default() }
    }

    /// A call that was signed at `signed_at` was refused at `refused_at`, by AWS's clock. Returns how far apart they are; `None`
    /// if that is not the reason.
    fn learn(&self, signed_at: Timestamp, refused_at: Timestamp) -> Option<Millis> {
        let off = refused_at - signed_at;
        if off.0.abs() <= TOLERATED.0 {
            return None;
        }
        let ahead = refused_at - self.system.now();
        // A system clock that is right needs no help, and its error is that of a header of whole seconds.
        let ahead_ms = if ahead.0.abs() <= TOLERATED.0 { 0 } else { ahead.0 };
        let before_ms = self.ahead_ms.swap(ahead_ms, Ordering::AcqRel);
        if (before_ms - ahead_ms).abs() > TOLERATED.0 {
            match ahead_ms {
                0 => tracing::info!("the system's clock agrees with AWS's again"),
                _ => tracing::warn!(
                    off_by_secs = ahead_ms / 1_000,
                    "the system's clock is not AWS's: calls are signed at AWS's time; see to the time service of this machine"
                ),
            }
        }
        Some(off)
    }
}

impl Clock for AwsTime {
    fn now(&self) -> Timestamp {
        self.system.now() + Millis(self.ahead_ms.load(Ordering::Acquire))
    }
}

impl TimeSource for AwsTime {
    fn now(&self) -> SystemTime {
        let now_ms = u64::try_from(Clock::now(self).0).unwrap_or(0);
        UNIX_EPOCH + Duration::from_millis(now_ms)
    }
}

impl fmt::Debug for AwsTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsTime").field("ahead_ms", &self.ahead_ms).finish_non_exhaustive()
    }
}

/// The time of a call's signature, from its sending to its answer.
#[derive(Debug)]
struct SignedAt(Timestamp);

impl Storable for SignedAt {
    type Storer = StoreReplace<Self>;
}

/// Learns AWS's time from its refusals.
#[derive(Debug)]
pub(super) struct FollowsAws(pub(super) AwsTime);

impl Intercept for FollowsAws {
    fn name(&self) -> &'static str {
        "FollowsAws"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(at) = context.request().headers().get("x-amz-date").and_then(signing_time) {
            config.interceptor_state().store_put(SignedAt(at));
        }
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let status = context.response().status().as_u16();
        // The note is ours alone.
        context.response_mut().headers_mut().remove(OFF_BY);
        if !matches!(status, 400 | 403) {
            return Ok(());
        }
        let refused_at = context.response().headers().get("date").and_then(http_date);
        let signed_at = config.load::<SignedAt>();
        if let (Some(&SignedAt(signed_at)), Some(refused_at)) = (signed_at, refused_at)
            && let Some(off) = self.0.learn(signed_at, refused_at)
        {
            context.response_mut().headers_mut().insert(OFF_BY, off.0.to_string());
        }
        Ok(())
    }
}

/// How far the signature of a refused call was from AWS's time; `None` if that was not the reason.
pub(super) fn signed_off_by(response: &HttpResponse) -> Option<Millis> {
    response.headers().get(OFF_BY)?.parse().ok().map(Millis)
}

/// The time of a signature (Signature Version 4, `x-amz-date`).
fn signing_time(text: &str) -> Option<Timestamp> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp(time.timestamp().as_millisecond()))
}

/// The time of an answer (RFC 9110 §6.6.1).
fn http_date(text: &str) -> Option<Timestamp> {
    let time = aws_smithy_types::DateTime::from_str(text, Format::HttpDate).ok()?;
    time.to_millis().ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(AtomicI64);

    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn a_clock_that_is_wrong_is_made_up_for_until_it_is_set_right() {
        let system = Arc::new(Fixed(AtomicI64::new(1_000_000)));
        let time = AwsTime::new(Arc::clone(&system) as Arc<dyn Clock>);
        let now = || Clock::now(&time);
        assert_eq!(time.learn(now(), Timestamp(1_100_000)), None, "not for its time");
        assert_eq!(now(), Timestamp(1_000_000));
        assert_eq!(time.learn(now(), Timestamp(4_600_000)), Some(Millis(3_600_000)));
        assert_eq!(now(), Timestamp(4_600_000));
        // A call that was signed before the correction says the same once more.
        assert_eq!(time.learn(Timestamp(1_000_000), Timestamp(4_600_000)), Some(Millis(3_600_000)));
        assert_eq!(now(), Timestamp(4_600_000));
        system.0.store(4_700_000, Ordering::Relaxed);
        assert_eq!(now(), Timestamp(8_300_000), "the correction is wrong now, and refused");
        assert_eq!(time.learn(now(), Timestamp(4_701_000)), Some(Millis(-3_599_000)));
        assert_eq!(now(), Timestamp(4_700_000));
    }

    #[test]
    fn the_times_of_requests_and_answers_are_read() {
        assert_eq!(signing_time("20150830T123600Z"), Some(Timestamp(1_440_938_160_000)));
        assert_eq!(http_date("Sun, 30 Aug 2015 12:36:00 GMT"), Some(Timestamp(1_440_938_160_000)));
        for text in ["", "tomorrow", "2015-08-30T12:36:00Z", "99999999T999999Z"] {
            assert_eq!((signing_time(text), http_date(text)), (None, None), "{text:?}");
        }
    }
}
