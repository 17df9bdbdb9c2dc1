//! Decides how many times Parlor tries to deliver an event before it sets the event aside (stores it for the operator).
//! A lane is a room or a user: the events of one lane are delivered one after the other.
//!
//! A receiver may be unavailable for hours. Then all events fail, but no event is the cause, and no event may be set
//! aside. Therefore a failed try counts only if the event itself is the likely cause:
//!
//! - The receiver refused the request with status 400, 413, 415 or 422.
//! - Or the receiver works, but the request failed with another status, a timeout, a broken connection, or an answer
//!   that is too large. The receiver works if it has accepted another event with 2xx since the previous counted try.
//!
//! A try never counts if the connection was refused, or if the circuit breaker is open.
//!
//! One sender can write unacceptable messages faster than Parlor sets their events aside. Therefore each event that is
//! set aside halves the number of tries for the next event of its lane, down to zero. A lane without tries gets one try
//! again after [`REST`]. If the receiver accepts an event of the lane, the lane has the full number of tries again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::event::Lane;
use crate::outbound::{OutboundError, ProgramFailure};

/// The time after which a lane without tries gets one try again.
const REST: Duration = Duration::from_mins(1);

/// When [`RetryBudget`] has this number of lanes, it removes old lanes. A lane is old if the last event of the lane
/// that was set aside after a counted try is older than [`REST`].
const REMEMBERED: usize = 1_000;

/// The maximum number of tries of an event, and the lanes in which this number is reduced.
pub(super) struct RetryBudget {
    /// The maximum number of tries of an event (`hooks.max_tries`). Zero means no limit.
    max_tries: u32,
    lanes: Mutex<HashMap<Lane, SetAsideStreak>>,
}

struct SetAsideStreak {
    /// The number of events that were set aside since the last accepted event of the lane.
    in_a_row: u32,
    last: Instant,
}

/// The counted tries of one request.
pub(super) struct TryCounter {
    counted: u32,
    /// The number of events that the receiver had accepted at the last counted try.
    accepted: u64,
}

impl RetryBudget {
    pub(super) fn new(max_tries: u32) -> Self {
        Self { max_tries, lanes: Mutex::default() }
    }

    /// Returns the maximum number of tries for the next event of a lane. None means no limit.
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

    /// Gives a lane all its tries again, because the receiver accepted an event of the lane.
    pub(super) fn restore(&self, lane: &Lane) {
        self.lanes().remove(lane);
    }

    /// Records that an event of a lane was set aside. `tried` is false if the event was set aside without a counted
    /// try.
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
    /// Starts to count the tries of a request. `accepted` is the number of events that the receiver has accepted so
    /// far.
    pub(super) fn new(accepted: u64) -> Self {
        Self { counted: 0, accepted }
    }

    /// Returns the number of tries that counted.
    pub(super) fn counted(&self) -> u32 {
        self.counted
    }

    /// Records a failed try. The try counts only if the event is the likely cause of the failure. `accepted` is the
    /// number of events that the receiver has accepted so far.
    pub(super) fn record_failure(&mut self, error: &OutboundError, accepted: u64) {
        let counts = match error {
            OutboundError::Status(400 | 413 | 415 | 422) => true,
            OutboundError::Status(_)
            | OutboundError::Timeout
            | OutboundError::Broken(_)
            | OutboundError::Program(ProgramFailure::Cpu | ProgramFailure::Error | ProgramFailure::Trap, _)
            | OutboundError::TooLarge(_) => accepted > self.accepted,
            OutboundError::Connect(_)
            | OutboundError::Program(ProgramFailure::Busy, _)
            | OutboundError::NotLoaded
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
            assert_eq!(counted(&mut tries, error, 5), 0, "the receiver accepted no other event");
        }
        assert_eq!(counted(&mut tries, OutboundError::Status(500), 6), 1);
        assert_eq!(counted(&mut tries, OutboundError::Status(503), 6), 1, "one try for each accepted event");
        assert_eq!(counted(&mut tries, OutboundError::Timeout, 9), 2);
        assert_eq!(counted(&mut tries, OutboundError::Open, 10), 2, "no request was sent");
        assert_eq!(counted(&mut tries, OutboundError::Status(422), 9), 3, "the receiver refused this event");
    }

    #[test]
    fn event_set_aside_halves_the_tries_of_the_next() {
        let budget = RetryBudget::new(10);
        let (one, other) = (lane(1), lane(2));
        for left in [10, 5, 2, 1, 0, 0] {
            assert_eq!(budget.allowed_tries(&one), Some(left));
            budget.record_set_aside(&one, left > 0);
        }
        assert_eq!(budget.allowed_tries(&other), Some(10), "other lanes keep their tries");
        budget.restore(&one);
        assert_eq!(budget.allowed_tries(&one), Some(10));
        assert_eq!(RetryBudget::new(0).allowed_tries(&one), None, "no limit");
    }
}
