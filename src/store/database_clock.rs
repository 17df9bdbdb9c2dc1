//! Estimates the time of the database's clock. All times that clients see, and all times by which lists are sorted,
//! come from this estimate. The clocks of the Parlor servers are not used, because they may differ by seconds, and an
//! operator may set them forwards or backwards.
//!
//! The database writes its time into each heartbeat (a document that this server writes at intervals). This server
//! knows when it sent the heartbeat, and when the heartbeat came back through the change stream. The database wrote its
//! time between these two instants. Therefore the estimate has an error of at most half of the time between them. The
//! estimate costs no extra request. Between heartbeats, a monotonic clock measures the time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bson::DateTime;
use handlers::Time;

/// The bound for the drift between this server's monotonic clock and the database's clock. The maximum drift in a
/// duration is the duration divided by this number: 1,000 means 1 ms in 1 s. The drift of quartz clocks is ten times
/// smaller.
const DRIFT: u32 = 1_000;

/// The reading of the database's clock from which the time is estimated. None before the first reading.
#[derive(Default)]
pub(crate) struct DatabaseClock(Mutex<Option<ClockReading>>);

/// One reading of the database's clock.
#[derive(Clone, Copy)]
struct ClockReading {
    /// The database's time in milliseconds since 1970.
    millis: i64,
    /// The instant at which the database's clock showed that time.
    at: Instant,
    /// The maximum error of `millis`. The true time may be earlier or later by this duration.
    error: Duration,
}

impl ClockReading {
    fn millis_at(self, at: Instant) -> i64 {
        let since = at.saturating_duration_since(self.at).as_millis();
        self.millis.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    fn error_at(self, at: Instant) -> Duration {
        self.error + at.saturating_duration_since(self.at) / DRIFT
    }
}

impl DatabaseClock {
    /// Records that the database's clock showed `time` at some instant between `sent` and `received`.
    ///
    /// If the old reading is more exact than the new reading, and the two readings agree within their errors, the old
    /// reading stays. If the two readings contradict each other, an operator has set a clock. Then the new reading
    /// replaces the old reading.
    pub(crate) fn read(&self, time: Time, sent: Instant, received: Instant) {
        let error = received.saturating_duration_since(sent) / 2;
        let half = i64::try_from(error.as_millis()).unwrap_or(i64::MAX);
        let new = ClockReading { millis: time.0.saturating_add(half), at: received, error };
        let mut known = self.known();
        let keeps = known.is_some_and(|old| {
            let apart = old.millis_at(received).abs_diff(new.millis);
            let old_error = old.error_at(received);
            old_error < error && u128::from(apart) <= (old_error + error).as_millis() + 1
        });
        if !keeps {
            *known = Some(new);
        }
    }

    /// Returns the estimated time of the database's clock. Before the first reading, returns this server's own time.
    pub(crate) fn now(&self) -> Time {
        let known = *self.known();
        Time(match known {
            Some(reading) => reading.millis_at(Instant::now()),
            None => DateTime::now().timestamp_millis(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Option<ClockReading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the estimated time of the database's clock, `after` milliseconds after `begin`.
    fn shown(clock: &DatabaseClock, begin: Instant, after: u64) -> i64 {
        clock.known().unwrap().millis_at(begin + Duration::from_millis(after))
    }

    fn read(clock: &DatabaseClock, begin: Instant, millis: i64, from: u64, to: u64) {
        let at = |after| begin + Duration::from_millis(after);
        clock.read(Time(millis), at(from), at(to));
    }

    #[test]
    fn reading_is_dated_in_the_middle_of_its_round_trip() {
        let (clock, begin) = (DatabaseClock::default(), Instant::now());
        read(&clock, begin, 1_000_000, 0, 10);
        assert_eq!(shown(&clock, begin, 10), 1_000_005);
        assert_eq!(
            shown(&clock, begin, 1_010),
            1_001_005,
            "the monotonic clock measures the time since the reading"
        );
    }

    #[test]
    fn exact_reading_replaces_a_less_exact_one() {
        let (clock, begin) = (DatabaseClock::default(), Instant::now());
        read(&clock, begin, 1_000_050, 0, 100);
        read(&clock, begin, 1_000_990, 1_000, 1_002);
        assert_eq!(shown(&clock, begin, 1_002), 1_000_991);
    }

    #[test]
    fn less_exact_reading_is_ignored_while_it_agrees() {
        let (clock, begin) = (DatabaseClock::default(), Instant::now());
        read(&clock, begin, 1_000_000, 0, 2);
        // The database wrote its time 50 ms after the heartbeat was sent. The heartbeat came back 950 ms later.
        read(&clock, begin, 1_001_050, 1_000, 2_000);
        assert_eq!(shown(&clock, begin, 2_000), 1_001_999);
    }

    #[test]
    fn reading_is_replaced_when_it_is_old() {
        let (clock, begin) = (DatabaseClock::default(), Instant::now());
        read(&clock, begin, 1_000_000, 0, 2);
        read(&clock, begin, 1_030_030, 30_000, 30_040);
        assert_eq!(shown(&clock, begin, 30_040), 1_030_050, "after 30 s the reading may be wrong by 30 ms");
    }

    #[test]
    fn clock_that_was_set_is_followed_in_both_directions() {
        let (clock, begin) = (DatabaseClock::default(), Instant::now());
        read(&clock, begin, 1_000_000, 0, 2);
        read(&clock, begin, 5_000_000, 1_000, 1_100);
        assert_eq!(shown(&clock, begin, 1_100), 5_000_050);
        read(&clock, begin, 1_002_000, 2_000, 2_400);
        assert_eq!(shown(&clock, begin, 2_400), 1_002_200);
    }

    #[test]
    fn unread_clock_shows_the_time_of_this_machine() {
        let own = DateTime::now().timestamp_millis();
        let shown = DatabaseClock::default().now().0;
        assert!((own..own + 60_000).contains(&shown));
    }
}
