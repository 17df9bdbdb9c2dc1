//! Decides how often an event is tried before it is set aside.
//!
//! An unavailable receiver must lose no event: then every event fails, and none of them is the cause. So a try counts
//! against its event only if the event itself is the likely cause:
//!
//! - The receiver refused this request: status 400, 413, 415 or 422.
//! - Or the request failed in another way after it had reached the receiver (another status, a timeout, a broken
//!   connection, an answer that is too large), and the receiver has accepted another event with 2xx since the try
//!   before.
//!
//! A refused connection, an open circuit breaker, and tries while the receiver accepts nothing at all never count.
//!
//! One sender can write such events faster than they are set aside. So each event that is set aside halves the tries
//! of the next one in its lane, down to zero. After [`REST`] one event is tried again. The first one that is accepted
//! restores all tries.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::event::Lane;
use crate::outbound::OutboundError;

/// A lane without tries left gets one try after this time.
const REST: Duration = Duration::from_mins(1);

/// When more lanes than this are remembered, idle ones are forgotten.
const REMEMBERED: usize = 1_000;

/// The lanes in which events were set aside.
pub(super) struct RetryBudget {
    /// Zero: an event is tried without limit.
    max_tries: u32,
    lanes: Mutex<HashMap<Lane, SetAsideStreak>>,
}

struct SetAsideStreak {
    /// Consecutive events that were set aside.
    in_a_row: u32,
    last: Instant,
}

/// The tries of one request.
pub(super) struct TryCounter {
    counted: u32,
    /// How many events the receiver had accepted at the last try that counted.
    accepted: u64,
}

impl RetryBudget {
    pub(super) fn new(max_tries: u32) -> Self {
        Self { max_tries, lanes: Mutex::default() }
    }

    /// Returns how many tries the next event of a lane has; none if there is no limit.
    pub(super) fn allowed_tries(&self, lane: &Lane) -> Option<u32> {
        if self.max_tries == 0 {
            return None;
        }
        let lanes = self.lanes();
        let Some(streak) = lanes.get(lane) else { return Some(self.max_tries) };
        let left = self.max_tries.checked_shr(streak.in_a_row).unwrap_or_default();
        let least = u32::from(streak.last.elapsed() >= REST);
        Some(left.max(least))
    }

    /// Restores the tries of a lane: an event was accepted.
    pub(super) fn restore(&self, lane: &Lane) {
        self.lanes().remove(lane);
    }

    /// Records that an event of a lane was set aside. `tried`: after a try of its own, and not only because of the
    /// events before it.
    pub(super) fn record_set_aside(&self, lane: &Lane, tried: bool) {
        let mut lanes = self.lanes();
        if lanes.len() >= REMEMBERED {
            lanes.retain(|_, streak| streak.last.elapsed() < REST);
        }
        if let Some(streak) = lanes.get_mut(lane) {
            streak.in_a_row = streak.in_a_row.saturating_add(1);
            if tried {
                streak.last = Instant::now();
            }
        } else {
            lanes.insert(lane.clone(), SetAsideStreak { in_a_row: 1, last: Instant::now() });
        }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Lane, SetAsideStreak>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TryCounter {
    /// Starts to count. `accepted`: how many events the receiver has accepted so far.
    pub(super) fn new(accepted: u64) -> Self {
        Self { counted: 0, accepted }
    }

    /// Returns the tries that counted.
    pub(super) fn counted(&self) -> u32 {
        self.counted
    }

    /// Records a failed try. `accepted` as in [`new`](Self::new).
    pub(super) fn record_failure(&mut self, error: &OutboundError, accepted: u64) {
        let counts = match error {
            OutboundError::Status(400 | 413 | 415 | 422) => true,
            OutboundError::Status(_)
            | OutboundError::Timeout
            | OutboundError::Broken(_)
            | OutboundError::TooLarge(_) => accepted > self.accepted,
            OutboundError::Connect(_)
            | OutboundError::Open
            | OutboundError::Busy
            | OutboundError::CallerBusy
            | OutboundError::HeldBack { .. } => false,
        };
        if counts {
            self.counted = self.counted.saturating_add(1);
            self.accepted = accepted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(room: i64) -> Lane {
        Lane::Room(room.try_into().unwrap())
    }

    #[test]
    fn try_counts_when_the_receiver_accepts_other_events() {
        let mut tries = TryCounter::new(5);
        let counted = |tries: &mut TryCounter, error: OutboundError, accepted| {
            tries.record_failure(&error, accepted);
            tries.counted()
        };
        for error in [OutboundError::Status(500), OutboundError::Timeout, OutboundError::Open] {
            assert_eq!(counted(&mut tries, error, 5), 0, "nothing else was taken");
        }
        assert_eq!(counted(&mut tries, OutboundError::Status(500), 6), 1);
        assert_eq!(counted(&mut tries, OutboundError::Status(503), 6), 1, "once for each that was taken");
        assert_eq!(counted(&mut tries, OutboundError::Timeout, 9), 2);
        assert_eq!(counted(&mut tries, OutboundError::Open, 10), 2, "it was not tried");
        assert_eq!(counted(&mut tries, OutboundError::Status(422), 9), 3, "it was refused as such");
    }

    #[test]
    fn event_set_aside_halves_the_tries_of_the_next() {
        let budget = RetryBudget::new(10);
        let (one, other) = (lane(1), lane(2));
        for left in [10, 5, 2, 1, 0, 0] {
            assert_eq!(budget.allowed_tries(&one), Some(left));
            budget.record_set_aside(&one, left > 0);
        }
        assert_eq!(budget.allowed_tries(&other), Some(10), "other lanes have theirs");
        budget.restore(&one);
        assert_eq!(budget.allowed_tries(&one), Some(10));
        assert_eq!(RetryBudget::new(0).allowed_tries(&one), None, "for ever");
    }
}
