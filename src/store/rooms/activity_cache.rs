//! A cache of the time of the last message in rooms. Lists of a user's rooms are ordered by this time. With the cache,
//! a list costs one read of the user's memberships, and not one more read for each room.
//!
//! The time of a room is read once. Later messages update it through the change stream, which brings every message to
//! every server. So a message costs no extra write. The cache has a maximum of rooms. It is cleared when it is full,
//! and when messages may have been missed. While the stream is broken, the order of lists does not change.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use handlers::{RoomId, Time};

/// The time of a room that is being read, or that has no messages.
const NEVER: Time = Time(i64::MIN);

/// The cache, with its maximum of rooms.
pub(crate) struct ActivityCache {
    known: Mutex<CachedActivity>,
    limit: usize,
}

#[derive(Default)]
struct CachedActivity {
    /// The time of each room. The flag is false while the room is being read. A message that arrives meanwhile already
    /// updates the time.
    rooms: HashMap<RoomId, (Time, bool)>,
    /// The number of times that the cache was cleared. If the cache was cleared during a read, the result of the read
    /// is not cached, because it may lack later messages.
    begun: u64,
}

/// The cached times of some rooms, and the rooms whose times must be read.
pub(crate) struct ActivityLookup {
    pub(crate) known: HashMap<RoomId, Time>,
    pub(crate) missing: Vec<RoomId>,
    begun: u64,
}

impl ActivityCache {
    pub(crate) fn new(limit: usize) -> Self {
        Self { known: Mutex::default(), limit }
    }

    /// Records a message in a room.
    pub(crate) fn record(&self, room: RoomId, at: Time) {
        if let Some((last, _)) = self.known().rooms.get_mut(&room) {
            *last = at.max(*last);
        }
    }

    /// Returns the cached times of these rooms. The other rooms are `missing`, and the cache follows them from now on.
    /// The caller must read their times and pass them to [`store`](Self::store).
    pub(crate) fn look_up(&self, rooms: impl Iterator<Item = RoomId>) -> ActivityLookup {
        let mut known = self.known();
        let (mut cached, mut missing) = (HashMap::new(), Vec::new());
        for room in rooms {
            match known.rooms.get(&room) {
                Some((at, true)) => drop(cached.insert(room, *at)),
                _ => missing.push(room),
            }
        }
        if known.rooms.len() + missing.len() > self.limit {
            known.clear();
        }
        for room in missing.iter().take(self.limit) {
            known.rooms.entry(*room).or_insert((NEVER, false));
        }
        ActivityLookup { known: cached, missing, begun: known.begun }
    }

    /// Stores the times that were read for the rooms in `of`. A room that is not in `read` has no messages.
    pub(crate) fn store(&self, asked: &mut ActivityLookup, read: &HashMap<RoomId, Time>, of: &[RoomId]) {
        let mut known = self.known();
        for room in of {
            let at = read.get(room).copied().unwrap_or(NEVER);
            asked.known.insert(*room, at);
            if known.begun == asked.begun
                && let Some(entry) = known.rooms.get_mut(room)
            {
                *entry = (at.max(entry.0), true);
            }
        }
    }

    /// Clears the cache, because messages may have been missed.
    pub(crate) fn clear(&self) {
        self.known().clear();
    }

    fn known(&self) -> MutexGuard<'_, CachedActivity> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedActivity {
    fn clear(&mut self) {
        self.rooms.clear();
        self.begun += 1;
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
