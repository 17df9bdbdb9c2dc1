//! Caches the last message number and the last message time of rooms.
//!
//! A cached number is never too high, because it comes from writes that a majority has confirmed. The number may be too
//! low, because other servers also write messages. Then the insert of the next message fails with a duplicate `_id`,
//! and the writer reads the last number from the database. The cache also contains the time of the last message. The
//! time of a new message is not earlier than this time. Therefore times never decrease within a room, even if the
//! servers' clocks differ.

use std::sync::{Mutex, MutexGuard, PoisonError};

use handlers::{RoomId, Time};

use crate::store::lru_map::LruMap;

/// The last message number and the last message time of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastMessage {
    /// The number of the last message. Zero in an empty room.
    pub(crate) n: i64,
    /// The latest known time of a message. `i64::MIN` if no time is known.
    pub(crate) at: Time,
}

impl Default for LastMessage {
    /// Returns the value for a room without messages: number 0, and no time.
    fn default() -> Self {
        Self { n: 0, at: Time(i64::MIN) }
    }
}

impl LastMessage {
    /// Returns the greater of the two numbers and the later of the two times.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { n: self.n.max(other.n), at: self.at.max(other.at) }
    }
}

/// The last message numbers and times of a limited number of rooms. A full cache drops the least recently used room.
/// The next message in a dropped room costs one read of the database.
pub(crate) struct SequenceCache(Mutex<LruMap<RoomId, LastMessage>>);

impl SequenceCache {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Mutex::new(LruMap::new(limit)))
    }

    /// Records that a message with this number and time exists. The number 0 records that the room is empty.
    pub(crate) fn record(&self, room: RoomId, last: LastMessage) {
        let mut known = self.known();
        if let Some(kept) = known.get_mut(&room) {
            *kept = kept.max(last);
        } else {
            known.insert(room, last);
        }
    }

    /// Records a message like [`record`](Self::record), but only if the room is in the cache. A room enters the cache
    /// when a socket on this server opens the room, or when this server writes a message in the room.
    pub(crate) fn record_if_cached(&self, room: RoomId, last: LastMessage) {
        if let Some(kept) = self.known().get_mut(&room) {
            *kept = kept.max(last);
        }
    }

    /// Returns the cached number and time of a room. Returns none if the room is not in the cache.
    pub(crate) fn last(&self, room: RoomId) -> Option<LastMessage> {
        self.known().get_mut(&room).copied()
    }

    pub(crate) fn clear(&self) {
        self.known().clear();
    }

    /// Removes a room from the cache. The writer does this after a failed write, because the room's last number is then
    /// unknown.
    pub(crate) fn remove(&self, room: RoomId) {
        self.known().remove(&room);
    }

    fn known(&self) -> MutexGuard<'_, LruMap<RoomId, LastMessage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert_eq!(numbers.known().len(), 2);
        assert_eq!([1, 2, 3].map(|id| numbers.last(room(id))), [None, Some(last(1)), Some(last(1))]);
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
