//! The last number each room has given out, and the last time, as far as this server knows.
//!
//! A number is a guess that is never too high: it comes from what a majority has confirmed. Where it is too low the insert
//! meets a taken `_id` and the writer reads the true one. Whoever knows the last number knows the time of its message, too,
//! and dates the next one no earlier: within a room times never go back, whatever the clocks of its servers show.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use handlers::{RoomId, Time};

/// How far a room has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    /// The number of its last message; 0 where there is none.
    pub(crate) n: i64,
    /// The latest time in it, where any is known.
    pub(crate) at: Time,
}

impl Default for Last {
    /// Of a room in which nothing was ever said.
    fn default() -> Self {
        Self { n: 0, at: Time(i64::MIN) }
    }
}

impl Last {
    /// Both.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { n: self.n.max(other.n), at: self.at.max(other.at) }
    }
}

/// A bounded map of rooms; when it is full it starts anew, for a miss costs one read and nothing else.
pub(crate) struct LastNumbers {
    known: Mutex<HashMap<RoomId, Last>>,
    limit: usize,
}

impl LastNumbers {
    pub(crate) fn new(limit: usize) -> Self {
        Self { known: Mutex::default(), limit }
    }

    /// A message with this number and time exists; 0 where it is known of none.
    pub(crate) fn saw(&self, room: RoomId, last: Last) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.limit && !known.contains_key(&room) {
            known.clear();
        }
        let kept = known.entry(room).or_default();
        *kept = kept.max(last);
    }

    /// The same, but only where the room is one that this server writes to or has open.
    pub(crate) fn saw_if_known(&self, room: RoomId, last: Last) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = known.get_mut(&room) {
            *kept = kept.max(last);
        }
    }

    pub(crate) fn last(&self, room: RoomId) -> Option<Last> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&room).copied()
    }

    pub(crate) fn forget_all(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn forget(&self, room: RoomId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(n: i64) -> Last {
        Last { n, at: Time(n * 100) }
    }

    #[test]
    fn it_keeps_no_more_rooms_than_it_may_and_never_forgets_upwards() {
        let numbers = LastNumbers::new(2);
        let room = |id| RoomId::try_from(id).unwrap();
        numbers.saw(room(1), last(7));
        numbers.saw(room(1), last(5));
        numbers.saw_if_known(room(2), last(9));
        assert_eq!((numbers.last(room(1)), numbers.last(room(2))), (Some(last(7)), None));
        numbers.saw(room(2), last(1));
        numbers.saw(room(3), last(1));
        assert_eq!(numbers.known.lock().unwrap().len(), 1, "full, it began anew");
        assert_eq!((numbers.last(room(1)), numbers.last(room(3))), (None, Some(last(1))));
    }

    #[test]
    fn a_rooms_time_never_goes_back() {
        let (numbers, room) = (LastNumbers::new(2), RoomId::try_from(1).unwrap());
        numbers.saw(room, Last { n: 1, at: Time(500) });
        numbers.saw(room, Last { n: 2, at: Time(400) });
        assert_eq!(numbers.last(room), Some(Last { n: 2, at: Time(500) }));
        numbers.forget_all();
        assert_eq!(numbers.last(room), None);
    }
}
