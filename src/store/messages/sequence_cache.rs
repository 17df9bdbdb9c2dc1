//! A cache of the last message number and the last message time of rooms.
//!
//! A cached number is never too high, because it comes from writes that a majority has confirmed. It may be too low,
//! because other servers write messages as well. Then the insert fails with a duplicate `_id`, and the writer reads the
//! true number. The cache also has the time of the last message. A new message gets at least this time. So times never
//! go back within a room, whatever the servers' clocks show.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use handlers::{RoomId, Time};

/// The last number and the last time of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastMessage {
    /// The number of the last message. Zero in an empty room.
    pub(crate) n: i64,
    /// The latest known time of a message. `i64::MIN` if none is known.
    pub(crate) at: Time,
}

impl Default for LastMessage {
    /// Returns the value for a room without messages.
    fn default() -> Self {
        Self { n: 0, at: Time(i64::MIN) }
    }
}

impl LastMessage {
    /// Returns the greater number and the later time of the two.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { n: self.n.max(other.n), at: self.at.max(other.at) }
    }
}

/// A map by room with a maximum of entries. A full map is cleared, because a missing entry costs only one read.
pub(crate) struct SequenceCache {
    known: Mutex<HashMap<RoomId, LastMessage>>,
    limit: usize,
}

impl SequenceCache {
    pub(crate) fn new(limit: usize) -> Self {
        Self { known: Mutex::default(), limit }
    }

    /// Records that a message with this number and time exists. The number 0 records that the room is empty.
    pub(crate) fn record(&self, room: RoomId, last: LastMessage) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.limit && !known.contains_key(&room) {
            known.clear();
        }
        let kept = known.entry(room).or_default();
        *kept = kept.max(last);
    }

    /// Does the same as [`record`](Self::record), but only for a room in the cache. Rooms come into the cache when this
    /// server writes to them or opens them.
    pub(crate) fn record_if_cached(&self, room: RoomId, last: LastMessage) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = known.get_mut(&room) {
            *kept = kept.max(last);
        }
    }

    /// Returns the cached last number and time of a room. None if the room is not in the cache.
    pub(crate) fn last(&self, room: RoomId) -> Option<LastMessage> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&room).copied()
    }

    pub(crate) fn clear(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Removes a room from the cache, because its last number is unknown after a failed write.
    pub(crate) fn remove(&self, room: RoomId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(n: i64) -> LastMessage {
        LastMessage { n, at: Time(n * 100) }
    }

    #[test]
    fn sequence_cache_is_bounded_and_keeps_the_greatest_number() {
        let numbers = SequenceCache::new(2);
        let room = |id| RoomId::try_from(id).unwrap();
        numbers.record(room(1), last(7));
        numbers.record(room(1), last(5));
        numbers.record_if_cached(room(2), last(9));
        assert_eq!((numbers.last(room(1)), numbers.last(room(2))), (Some(last(7)), None));
        numbers.record(room(2), last(1));
        numbers.record(room(3), last(1));
        assert_eq!(numbers.known.lock().unwrap().len(), 1, "a full cache is cleared");
        assert_eq!((numbers.last(room(1)), numbers.last(room(3))), (None, Some(last(1))));
    }

    #[test]
    fn room_time_never_goes_back() {
        let (numbers, room) = (SequenceCache::new(2), RoomId::try_from(1).unwrap());
        numbers.record(room, LastMessage { n: 1, at: Time(500) });
        numbers.record(room, LastMessage { n: 2, at: Time(400) });
        assert_eq!(numbers.last(room), Some(LastMessage { n: 2, at: Time(500) }));
        numbers.clear();
        assert_eq!(numbers.last(room), None);
    }
}
