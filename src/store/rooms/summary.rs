//! A room with the data that a list of rooms shows.

use handlers::Time;

use crate::model::message::StoredMessage;
use crate::model::receipts::Marks;
use crate::model::room::{StoredMember, StoredRoom};

/// A room as one of its members sees it in a list.
#[derive(Debug)]
pub(crate) struct RoomSummary {
    pub(crate) room: StoredRoom,
    pub(crate) members: Vec<StoredMember>,
    /// The last message that is not deleted.
    pub(crate) last: Option<StoredMessage>,
    /// The number of messages after the user's read marker that other users wrote. Deleted messages don't count.
    pub(crate) unread: i64,
    /// The user's own receipt markers.
    pub(crate) marks: Marks,
    pub(crate) active_at: Time,
    /// Whether the user has not accepted the room yet. A user accepts a direct room by opening it or writing in it.
    pub(crate) pending: bool,
}

impl RoomSummary {
    /// Returns the number of the room's last message, or None if the message was already delivered to the user.
    pub(crate) fn undelivered(&self) -> Option<i64> {
        self.last.as_ref().map(|last| last.id.get()).filter(|last| *last > self.marks.delivered)
    }
}
