//! The rooms of a user in one inbox connection: which are open, and which have to be re-read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bson::Timestamp;
use handlers::RoomId;

/// The rooms of a user, as one inbox connection knows them.
#[derive(Default)]
pub(crate) struct JoinedRooms(Mutex<KnownRooms>);

#[derive(Default)]
struct KnownRooms {
    /// The rooms, each with whether the client has it open.
    rooms: HashMap<RoomId, bool>,
    /// The rooms to re-read, because the user's membership may have changed. Each has the time of the latest change.
    stale: HashMap<RoomId, Timestamp>,
    /// The last messages of rooms that an action's answer contains.
    shown: Vec<(RoomId, i64)>,
}

impl JoinedRooms {
    /// Records that the user is in the room. Returns false if the connection knew the room already.
    pub(crate) fn enter(&self, room: RoomId) -> bool {
        let mut known = self.known();
        let new = !known.rooms.contains_key(&room);
        known.rooms.entry(room).or_default();
        new
    }

    /// Records that the user is not in the room any more. Returns false if the connection did not know the room.
    pub(crate) fn leave(&self, room: RoomId) -> bool {
        self.known().rooms.remove(&room).is_some()
    }

    /// Whether the user is in this room.
    pub(crate) fn has(&self, room: RoomId) -> bool {
        self.known().rooms.contains_key(&room)
    }

    /// Whether the client has the room open.
    pub(crate) fn is_open(&self, room: RoomId) -> bool {
        self.known().rooms.get(&room).copied().unwrap_or_default()
    }

    /// Records whether the client has the room open.
    pub(crate) fn set_open(&self, room: RoomId, open: bool) {
        if let Some(is_open) = self.known().rooms.get_mut(&room) {
            *is_open = open;
        }
    }

    /// Marks a room as stale: the membership may have changed at this time. Returns false if it was stale already.
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

    /// Clears the room's stale flag before it is re-read, so that later changes set it again. Returns the time of the
    /// latest change.
    pub(crate) fn take_stale(&self, room: RoomId) -> Option<Timestamp> {
        self.known().stale.remove(&room)
    }

    /// Stores the last messages of the rooms that an answer contains.
    pub(crate) fn show(&self, last: Vec<(RoomId, i64)>) {
        self.known().shown = last;
    }

    /// Takes the last messages of the rooms that the last answer contains.
    pub(crate) fn take_shown(&self) -> Vec<(RoomId, i64)> {
        std::mem::take(&mut self.known().shown)
    }

    /// Whether the user's membership may have changed since the last read.
    pub(crate) fn is_stale(&self, room: RoomId) -> bool {
        self.known().stale.contains_key(&room)
    }

    fn known(&self) -> MutexGuard<'_, KnownRooms> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
