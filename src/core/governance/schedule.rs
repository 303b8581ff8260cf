//! Times that come again and again, as crontab(5) writes them.

use cronexpr::Crontab;
use serde::{Deserialize, Serialize};

use crate::core::time::Timestamp;

/// How many beginnings that overlap are followed to the end of what they make together.
const MOST_OVERLAPS: usize = 1_000;

/// A time that comes again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schedule {
    /// When it begins: minute, hour, day of the month, month, day of the week (crontab(5)).
    pub cron: String,
    /// How long it lasts.
    pub duration: jiff::SignedDuration,
    /// The time zone of `cron`, such as `Europe/Berlin`; UTC if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// When a freeze by a schedule begins, and how long it lasts.
#[derive(Clone, Debug)]
pub struct Opening {
    crontab: Crontab,
    duration: jiff::SignedDuration,
}

/// Why there is no such schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleProblem {
    /// The key of the schedule that is at fault.
    pub key: &'static str,
    /// Why.
    pub reason: String,
    /// What to do.
    pub remedy: &'static str,
}

impl Opening {
    /// Reads a schedule.
    ///
    /// # Errors
    /// The time zone is unknown, the expression is none, or it never fires.
    pub fn parse(schedule: &Schedule) -> Result<Self, ScheduleProblem> {
        let zone = schedule.time_zone.as_deref().unwrap_or("UTC");
        if jiff::tz::TimeZone::get(zone).is_err() {
            return Err(ScheduleProblem {
                key: "timeZone",
                reason: format!("{zone:?} is no time zone"),
                remedy: "give a name of the IANA time zone database, such as Europe/Berlin",
            });
        }
        let cron = |reason: String, remedy| ScheduleProblem { key: "cron", reason, remedy };
        if schedule.cron.split_whitespace().count() != 5 {
            return Err(cron(
                format!("{:?} has not five fields", schedule.cron),
                "give minute, hour, day of the month, month and day of the week; the zone is timeZone",
            ));
        }
        let crontab =
            cronexpr::parse_crontab(&format!("{} {zone}", schedule.cron)).map_err(|error| {
                let reason = error.to_string();
                let last = reason.lines().last().unwrap_or_default().trim();
                cron(
                    format!("{:?} is no schedule: {last}", schedule.cron),
                    "write it as in crontab(5), such as 0 18 * * FRI",
                )
            })?;
        let opening = Self { crontab, duration: schedule.duration };
        match opening.next_after(Timestamp(0)) {
            Some(_) => Ok(opening),
            None => Err(cron(
                format!("{:?} never fires", schedule.cron),
                "give a day that its month has",
            )),
        }
    }

    /// The first beginning after a time.
    pub(super) fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_millisecond(time.0).ok()?;
        let next = self.crontab.find_next(cronexpr::MakeTimestamp(after)).ok()?;
        Some(Timestamp(next.timestamp().as_millisecond()))
    }

    /// Until when it is closed at a time; `None` if it is open then.
    pub(super) fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        let length = i64::try_from(self.duration.as_millis()).ok()?;
        let mut from = self.next_after(Timestamp(now.0.saturating_sub(length)))?;
        if from > now {
            return None;
        }
        for _ in 0..MOST_OVERLAPS {
            let until = Timestamp(from.0.saturating_add(length));
            match self.next_after(from) {
                Some(next) if next <= until => from = next,
                _ => return Some(until),
            }
        }
        Some(Timestamp(from.0.saturating_add(length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn opening(cron: &str, hours: i64, zone: Option<&str>) -> Result<Opening, ScheduleProblem> {
        Opening::parse(&Schedule {
            cron: cron.to_owned(),
            duration: jiff::SignedDuration::from_hours(hours),
            time_zone: zone.map(str::to_owned),
        })
    }

    #[test]
    fn a_schedule_closes_from_its_beginning_for_its_duration_in_its_time_zone() {
        let weekend = opening("0 18 * * FRI", 60, Some("Europe/Berlin")).unwrap();
        // 2026-12-04 is a Friday; 18:00 in Berlin is 17:00 UTC in winter and 16:00 in summer.
        assert_eq!(weekend.closed_until(time("2026-12-04T16:59:59Z")), None);
        let until = Some(time("2026-12-07T05:00:00Z"));
        assert_eq!(weekend.closed_until(time("2026-12-04T17:00:00Z")), until);
        assert_eq!(weekend.closed_until(time("2026-12-07T04:59:59Z")), until);
        assert_eq!(weekend.closed_until(time("2026-12-07T05:00:00Z")), None);
        assert!(weekend.closed_until(time("2026-07-03T16:00:00Z")).is_some());
    }

    #[test]
    fn beginnings_that_overlap_close_without_a_gap() {
        let daily = opening("0 0 1-5 12 *", 24, None).unwrap();
        let until = Some(time("2026-12-06T00:00:00Z"));
        assert_eq!(daily.closed_until(time("2026-12-02T12:00:00Z")), until);
        assert_eq!(
            daily.next_after(time("2026-12-05T12:00:00Z")),
            Some(time("2027-12-01T00:00:00Z"))
        );
    }

    #[test]
    fn what_never_fires_or_is_no_schedule_is_refused_with_the_key_at_fault() {
        for (cron, zone, key, reason) in [
            ("0 0 30 2 *", None, "cron", "never fires"),
            ("0 18 * * FRI", Some("Europe/Atlantis"), "timeZone", "is no time zone"),
            ("0 18 * *", None, "cron", "five fields"),
            ("0 25 * * *", None, "cron", "is no schedule"),
        ] {
            let problem = opening(cron, 1, zone).unwrap_err();
            assert!(problem.key == key && problem.reason.contains(reason), "{problem:?}");
        }
    }
}
