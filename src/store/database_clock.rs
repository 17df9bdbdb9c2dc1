//! The database's clock, as this server estimates it. What is shown and what lists are ordered by is dated by it: the
//! servers' own clocks may differ by seconds, and jump.
//!
//! Each heartbeat is dated by the database, between the moment when it was sent and the one when it came round. So the
//! estimate costs nothing, and is as good as half of that time. How time passes in between is told by a clock that never
//! jumps.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bson::DateTime;
use handlers::Time;

/// Two clocks drift apart by one part in so many, at most: quartz is ten times better.
const DRIFT: u32 = 1_000;

/// What is known of the clock.
#[derive(Default)]
pub(crate) struct DatabaseClock(Mutex<Option<Reading>>);

/// The clock as it was read once.
#[derive(Clone, Copy)]
struct Reading {
    /// In milliseconds since 1970...
    millis: i64,
    /// ...at this instant...
    at: Instant,
    /// ...or up to so much earlier or later.
    error: Duration,
}

impl Reading {
    fn millis_at(self, at: Instant) -> i64 {
        let since = at.saturating_duration_since(self.at).as_millis();
        self.millis.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    fn error_at(self, at: Instant) -> Duration {
        self.error + at.saturating_duration_since(self.at) / DRIFT
    }
}

impl DatabaseClock {
    /// The database's clock showed `time` at some moment from `sent` to `received`.
    ///
    /// The better one of two readings is kept. Where both can't be right a clock was set, and the later one is.
    pub(crate) fn read(&self, time: Time, sent: Instant, received: Instant) {
        let error = received.saturating_duration_since(sent) / 2;
        let half = i64::try_from(error.as_millis()).unwrap_or(i64::MAX);
        let new = Reading { millis: time.0.saturating_add(half), at: received, error };
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

    /// What the database's clock shows now; this machine's, as long as that was never read.
    pub(crate) fn now(&self) -> Time {
        let known = *self.known();
        Time(match known {
            Some(reading) => reading.millis_at(Instant::now()),
            None => DateTime::now().timestamp_millis(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Option<Reading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a clock shows so many milliseconds after `begin`.
    fn shown(clock: &DatabaseClock, begin: Instant, after: u64) -> i64 {
        clock.known().unwrap().millis_at(begin + Duration::from_millis(after))
    }

    fn read(clock: &DatabaseClock, begin: Instant, millis: i64, from: u64, to: u64) {
        let at = |after| begin + Duration::from_millis(after);
        clock.read(Time(millis), at(from), at(to));
    }

    #[test]
    fn the_middle_of_the_time_under_way_is_taken() {
        let (clock, begin) = (DatabaseClock::default(), Instant::now());
        read(&clock, begin, 1_000_000, 0, 10);
        assert_eq!(shown(&clock, begin, 10), 1_000_005);
        assert_eq!(shown(&clock, begin, 1_010), 1_001_005, "and goes on by the clock that never jumps");
    }

    #[test]
    fn a_better_reading_replaces_a_worse_one() {
        let (clock, begin) = (DatabaseClock::default(), Instant::now());
        read(&clock, begin, 1_000_050, 0, 100);
        read(&clock, begin, 1_000_990, 1_000, 1_002);
        assert_eq!(shown(&clock, begin, 1_002), 1_000_991);
    }

    #[test]
    fn a_worse_reading_is_passed_over_while_it_agrees() {
        let (clock, begin) = (DatabaseClock::default(), Instant::now());
        read(&clock, begin, 1_000_000, 0, 2);
        // It waited for 900 ms on its way.
        read(&clock, begin, 1_001_050, 1_000, 2_000);
        assert_eq!(shown(&clock, begin, 2_000), 1_001_999);
    }

    #[test]
    fn a_reading_is_replaced_once_it_is_old_enough() {
        let (clock, begin) = (DatabaseClock::default(), Instant::now());
        read(&clock, begin, 1_000_000, 0, 2);
        read(&clock, begin, 1_030_030, 30_000, 30_040);
        assert_eq!(shown(&clock, begin, 30_040), 1_030_050, "after 30 s it may be 30 ms off");
    }

    #[test]
    fn a_clock_that_was_set_is_followed_either_way() {
        let (clock, begin) = (DatabaseClock::default(), Instant::now());
        read(&clock, begin, 1_000_000, 0, 2);
        read(&clock, begin, 5_000_000, 1_000, 1_100);
        assert_eq!(shown(&clock, begin, 1_100), 5_000_050);
        read(&clock, begin, 1_002_000, 2_000, 2_400);
        assert_eq!(shown(&clock, begin, 2_400), 1_002_200);
    }

    #[test]
    fn a_clock_that_was_never_read_is_this_machines() {
        let own = DateTime::now().timestamp_millis();
        let shown = DatabaseClock::default().now().0;
        assert!((own..own + 60_000).contains(&shown));
    }
}
