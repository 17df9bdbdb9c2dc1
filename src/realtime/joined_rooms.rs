//! The rooms of a user, as one inbox connection knows them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bson::Timestamp;
use handlers::RoomId;

/// The rooms of a user, as one socket knows them.
#[derive(Default)]
pub(crate) struct JoinedRooms(Mutex<KnownRooms>);

#[derive(Default)]
struct KnownRooms {
    /// Each with whether it is being looked at.
    rooms: HashMap<RoomId, bool>,
    /// Those that are to be looked at anew: whether the user is in them isn't sure. With the last change that made it so.
    stale: HashMap<RoomId, Timestamp>,
    /// The last messages of rooms that an action's answer shows.
    shown: Vec<(RoomId, i64)>,
}

impl JoinedRooms {
    /// The user is in this room. False where that was known.
    pub(crate) fn enter(&self, room: RoomId) -> bool {
        let mut known = self.known();
        let new = !known.rooms.contains_key(&room);
        known.rooms.entry(room).or_default();
        new
    }

    /// The user isn't in this room any more. False where that was known.
    pub(crate) fn leave(&self, room: RoomId) -> bool {
        self.known().rooms.remove(&room).is_some()
    }

    /// Whether the user is in this room.
    pub(crate) fn has(&self, room: RoomId) -> bool {
        self.known().rooms.contains_key(&room)
    }

    /// Whether the room is being looked at.
    pub(crate) fn is_open(&self, room: RoomId) -> bool {
        self.known().rooms.get(&room).copied().unwrap_or_default()
    }

    pub(crate) fn set_open(&self, room: RoomId, open: bool) {
        if let Some(is_open) = self.known().rooms.get_mut(&room) {
            *is_open = open;
        }
    }

    /// Whether the user is in this room isn't sure any more, for what changed then. False where that was so already.
    pub(crate) fn mark_stale(&self, room: RoomId, changed: Timestamp) -> bool {
        match self.known().stale.entry(room) {
            Entry::Occupied(mut last) => {
                *last.get_mut() = changed.max(*last.get());
                false
            }
            Entry::Vacant(first) => {
                first.insert(changed);
                true
            }
        }
    }

    /// It is being looked at: what changes from now on is in doubt anew. Gives the last change until now.
    pub(crate) fn take_stale(&self, room: RoomId) -> Option<Timestamp> {
        self.known().stale.remove(&room)
    }

    pub(crate) fn show(&self, last: Vec<(RoomId, i64)>) {
        self.known().shown = last;
    }

    /// The last messages of rooms that the last answer shows.
    pub(crate) fn take_shown(&self) -> Vec<(RoomId, i64)> {
        std::mem::take(&mut self.known().shown)
    }

    pub(crate) fn is_stale(&self, room: RoomId) -> bool {
        self.known().stale.contains_key(&room)
    }

    fn known(&self) -> MutexGuard<'_, KnownRooms> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
