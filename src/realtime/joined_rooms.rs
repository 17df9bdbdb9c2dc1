//! The rooms of one inbox connection (a Level 3 socket). Records which rooms the client has open, and which rooms the
//! server has to re-read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bson::Timestamp;
use handlers::RoomId;

/// The rooms that one inbox connection knows.
#[derive(Default)]
pub(crate) struct JoinedRooms(Mutex<KnownRooms>);

#[derive(Default)]
struct KnownRooms {
    /// The rooms that the user is in. The value is true while the client has the room open.
    rooms: HashMap<RoomId, bool>,
    /// The rooms to re-read, because a membership may have changed. The value is the commit time of the latest change.
    stale: HashMap<RoomId, Timestamp>,
    /// The number of the last message of each room in an action's answer. These messages count as delivered after the
    /// answer is written to the socket.
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

    /// Returns whether the user is in this room.
    pub(crate) fn has(&self, room: RoomId) -> bool {
        self.known().rooms.contains_key(&room)
    }

    /// Returns whether the client has the room open.
    pub(crate) fn is_open(&self, room: RoomId) -> bool {
        self.known().rooms.get(&room).copied().unwrap_or_default()
    }

    /// Records whether the client has the room open.
    pub(crate) fn set_open(&self, room: RoomId, open: bool) {
        if let Some(is_open) = self.known().rooms.get_mut(&room) {
            *is_open = open;
        }
    }

    /// Marks a room as stale, because a membership may have changed at the time `changed`. Returns false if the room
    /// was stale already.
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

    /// Clears the stale mark of a room. The caller re-reads the room afterwards, so that a change during the re-read
    /// marks the room again. Returns the time of the latest change, or none if the room was not stale.
    pub(crate) fn take_stale(&self, room: RoomId) -> Option<Timestamp> {
        self.known().stale.remove(&room)
    }

    /// Stores the number of the last message of each room in an answer that is not yet written to the socket.
    pub(crate) fn show(&self, last: Vec<(RoomId, i64)>) {
        self.known().shown = last;
    }

    /// Removes and returns the messages that [`show`](Self::show) stored.
    pub(crate) fn take_shown(&self) -> Vec<(RoomId, i64)> {
        std::mem::take(&mut self.known().shown)
    }

    /// Returns whether a membership in the room may have changed since the room was last read.
    pub(crate) fn is_stale(&self, room: RoomId) -> bool {
        self.known().stale.contains_key(&room)
    }

    fn known(&self) -> MutexGuard<'_, KnownRooms> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
