//! Caches the time of the last message in rooms. Lists of a user's rooms are ordered by this time. With the cache, the
//! order of a list costs one read of the user's memberships. Without the cache, it would cost one more read for each
//! room.
//!
//! Each server reads the time of a room once from the database. Later messages update the time through the change
//! stream, which brings every message to every server. So a message costs no extra write. The number of rooms in the
//! cache is limited. A full cache drops the least recently used room. The cache is cleared when the change stream may
//! have missed messages. While the stream is broken, new messages do not change the order of lists.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use handlers::{RoomId, Time};

use crate::store::lru_map::LruMap;

/// The time of a room that has no messages, or whose time has not been read from the database yet.
const NEVER: Time = Time(i64::MIN);

/// The cache, with its maximum number of rooms.
pub(crate) struct ActivityCache {
    known: Mutex<CachedActivity>,
    limit: usize,
}

struct CachedActivity {
    rooms: LruMap<RoomId, RoomActivity>,
    /// The number of calls of [`ActivityCache::look_up`].
    look_ups: u64,
}

/// The cached activity of one room.
struct RoomActivity {
    /// The time of the last message. A new message updates this time even if the time from the database is still
    /// missing.
    last: Time,
    /// False until the caller of [`ActivityCache::look_up`] has read the room's time from the database and stored it in
    /// the cache.
    is_read: bool,
    /// The number of the look-up that added the room. Since this look-up, the room's new messages update the cache. The
    /// result of an earlier look-up is not cached, because it may lack messages that came between the two look-ups.
    added_by: u64,
}

/// The cached times of some rooms, and the rooms whose times must be read.
pub(crate) struct ActivityLookup {
    pub(crate) known: HashMap<RoomId, Time>,
    pub(crate) missing: Vec<RoomId>,
    /// The number of this look-up.
    number: u64,
}

impl ActivityCache {
    pub(crate) fn new(limit: usize) -> Self {
        let known = CachedActivity { rooms: LruMap::new(limit), look_ups: 0 };
        Self { known: Mutex::new(known), limit }
    }

    /// Records the time of a new message, if the room is in the cache.
    pub(crate) fn record(&self, room: RoomId, at: Time) {
        if let Some(known) = self.known().rooms.get_mut(&room) {
            known.last = at.max(known.last);
        }
    }

    /// Returns the cached times of `rooms`. The rooms without a cached time are in `missing`: the caller must read
    /// their times from the database, and pass these times to [`store`](Self::store). From now on, new messages in
    /// these rooms update the cache.
    pub(crate) fn look_up(&self, rooms: impl Iterator<Item = RoomId>) -> ActivityLookup {
        let mut known = self.known();
        let (mut cached, mut missing) = (HashMap::new(), Vec::new());
        known.look_ups += 1;
        let number = known.look_ups;
        for room in rooms {
            match known.rooms.get_mut(&room) {
                Some(activity) if activity.is_read => drop(cached.insert(room, activity.last)),
                _ => missing.push(room),
            }
        }
        for room in missing.iter().take(self.limit) {
            if known.rooms.get_mut(room).is_none() {
                known.rooms.insert(*room, RoomActivity { last: NEVER, is_read: false, added_by: number });
            }
        }
        ActivityLookup { known: cached, missing, number }
    }

    /// Stores the times that the caller read for the rooms in `of`. A room that is not in `read` has no messages.
    pub(crate) fn store(&self, asked: &mut ActivityLookup, read: &HashMap<RoomId, Time>, of: &[RoomId]) {
        let mut known = self.known();
        for room in of {
            let at = read.get(room).copied().unwrap_or(NEVER);
            asked.known.insert(*room, at);
            if let Some(activity) = known.rooms.get_mut(room)
                && activity.added_by <= asked.number
            {
                activity.last = at.max(activity.last);
                activity.is_read = true;
            }
        }
    }

    /// Clears the cache, because messages may have been missed.
    pub(crate) fn clear(&self) {
        self.known().rooms.clear();
    }

    fn known(&self) -> MutexGuard<'_, CachedActivity> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(id: i64) -> RoomId {
        RoomId::try_from(id).unwrap()
    }

    fn learn(activity: &ActivityCache, asked: &mut ActivityLookup, at: i64) {
        let missing = asked.missing.clone();
        let read = missing.iter().map(|room| (*room, Time(at))).collect();
        activity.store(asked, &read, &missing);
    }

    #[test]
    fn activity_during_a_read_is_not_lost() {
        let activity = ActivityCache::new(10);
        let mut asked = activity.look_up([room(1)].into_iter());
        activity.record(room(1), Time(7));
        activity.record(room(2), Time(7));
        learn(&activity, &mut asked, 5);
        let asked = activity.look_up([room(1), room(2)].into_iter());
        assert_eq!((asked.known[&room(1)], asked.missing), (Time(7), vec![room(2)]));
    }

    #[test]
    fn times_read_before_a_clear_are_not_kept() {
        let activity = ActivityCache::new(10);
        let mut before = activity.look_up([room(1)].into_iter());
        activity.clear();
        let after = activity.look_up([room(1)].into_iter());
        learn(&activity, &mut before, 5);
        assert_eq!(before.known[&room(1)], Time(5), "the caller still gets the time");
        assert_eq!(
            (activity.look_up([room(1)].into_iter()).missing, after.missing),
            (vec![room(1)], vec![room(1)])
        );
    }

    #[test]
    fn times_read_before_a_room_was_dropped_are_not_kept() {
        let activity = ActivityCache::new(1);
        let mut before = activity.look_up([room(1)].into_iter());
        // Room 2 replaces room 1, because the cache holds only one room. New messages of room 1 don't update the cache
        // until the next look-up of room 1.
        activity.look_up([room(2)].into_iter());
        activity.record(room(1), Time(7));
        let mut after = activity.look_up([room(1)].into_iter());
        learn(&activity, &mut before, 5);
        assert_eq!(activity.look_up([room(1)].into_iter()).missing, [room(1)], "5 is too early");
        learn(&activity, &mut after, 7);
        assert_eq!(activity.look_up([room(1)].into_iter()).known[&room(1)], Time(7));
    }

    #[test]
    fn activity_cache_is_bounded() {
        let activity = ActivityCache::new(3);
        for ids in [1..=2, 3..=4, 5..=9] {
            let mut asked = activity.look_up(ids.clone().map(room));
            learn(&activity, &mut asked, 1);
            assert_eq!(asked.known.len(), ids.count(), "the caller gets all times");
            assert!(activity.known().rooms.len() <= 3);
        }
    }
}
