//! A room as it appears in lists.

use handlers::Time;

use crate::model::message::StoredMessage;
use crate::model::receipts::Marks;
use crate::model::room::{StoredMember, StoredRoom};

/// A room as one of its members sees it.
#[derive(Debug)]
pub(crate) struct RoomSummary {
    pub(crate) room: StoredRoom,
    pub(crate) members: Vec<StoredMember>,
    /// The last message that is not deleted.
    pub(crate) last: Option<StoredMessage>,
    /// The number of others' messages after the user's read marker, without deleted ones.
    pub(crate) unread: i64,
    /// The user's own markers.
    pub(crate) marks: Marks,
    pub(crate) active_at: Time,
    /// The user has not accepted the room.
    pub(crate) pending: bool,
}

impl RoomSummary {
    /// Returns the last message's number, if that message is not delivered to the user yet.
    pub(crate) fn undelivered(&self) -> Option<i64> {
        self.last.as_ref().map(|last| last.id.get()).filter(|last| *last > self.marks.delivered)
    }
}
