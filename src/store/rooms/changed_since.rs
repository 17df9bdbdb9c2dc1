//! Records the commit time of the last change in each room. When an inbox connection (Level 3) resumes, it needs only
//! the rooms that changed while the client was disconnected. This record finds these rooms without a read of the
//! database.
//!
//! The change stream updates the times. The number of rooms in the record is limited. A full record drops the room
//! whose last change is the oldest. The record is then complete only for the time after the dropped room's last change.
//! If the change stream may have missed changes, the record is cleared.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bson::Timestamp;
use handlers::RoomId;

use crate::store::lru_map::LruMap;

/// The record of recent changes, for a limited number of rooms.
pub(crate) struct RecentRoomChanges(Mutex<RoomChangeTimes>);

struct RoomChangeTimes {
    /// The record contains all changes after this cluster time (a time of MongoDB's logical clock). None before the
    /// change stream has started.
    from: Option<Timestamp>,
    /// The commit time of each room's last change. Changes are recorded in the order of the change stream, so the least
    /// recently used room has the oldest change.
    rooms: LruMap<RoomId, Timestamp>,
}

impl RecentRoomChanges {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Mutex::new(RoomChangeTimes { from: None, rooms: LruMap::new(limit) }))
    }

    /// Records a change in a room.
    pub(crate) fn record_change(&self, room: RoomId, at: Timestamp) {
        let mut known = self.known();
        let from = *known.from.get_or_insert(at);
        if let Some((_, oldest)) = known.rooms.insert(room, at) {
            known.from = Some(from.max(oldest));
        }
    }

    /// Records that the change stream has reached the cluster time `at`.
    pub(crate) fn record_position(&self, at: Timestamp) {
        self.known().from.get_or_insert(at);
    }

    /// Clears the record, because the change stream may have missed changes.
    pub(crate) fn clear(&self) {
        let mut known = self.known();
        known.from = None;
        known.rooms.clear();
    }

    /// Returns the rooms among `of` that changed after `since`. Returns none if the record is not complete for the time
    /// after `since`.
    pub(crate) fn changed_after(&self, since: Timestamp, of: &[RoomId]) -> Option<Vec<RoomId>> {
        let known = self.known();
        known.from.filter(|from| *from <= since)?;
        let is_later = |room: &&RoomId| known.rooms.peek(room).is_some_and(|at| *at > since);
        Some(of.iter().filter(is_later).copied().collect())
    }

    fn known(&self) -> MutexGuard<'_, RoomChangeTimes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(id: i64) -> RoomId {
        RoomId::try_from(id).unwrap()
    }

    fn at(time: u32) -> Timestamp {
        Timestamp { time, increment: 1 }
    }

    #[test]
    fn changes_are_known_only_since_the_record_began() {
        let changes = RecentRoomChanges::new(2);
        let all = [room(1), room(2), room(3)];
        assert_eq!(changes.changed_after(at(9), &all), None);
        changes.record_position(at(5));
        changes.record_change(room(1), at(7));
        changes.record_change(room(2), at(9));
        assert_eq!(changes.changed_after(at(4), &all), None);
        assert_eq!(changes.changed_after(at(5), &all), Some(vec![room(1), room(2)]));
        assert_eq!(changes.changed_after(at(7), &all), Some(vec![room(2)]));
        changes.record_change(room(3), at(11));
        assert_eq!(
            [6, 7, 9].map(|time| changes.changed_after(at(time), &all)),
            [None, Some(vec![room(2), room(3)]), Some(vec![room(3)])],
            "a full record begins after the change that it dropped"
        );
        changes.clear();
        assert_eq!(changes.changed_after(at(99), &all), None);
    }
}
