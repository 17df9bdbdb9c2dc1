//! A room as lists show it.

use handlers::Time;

use crate::model::message::StoredMessage;
use crate::model::receipts::Marks;
use crate::model::room::{StoredMember, StoredRoom};

/// A room as one of its members sees it.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) room: StoredRoom,
    pub(crate) members: Vec<StoredMember>,
    /// The last message that is not deleted.
    pub(crate) last: Option<StoredMessage>,
    /// Others' messages after the user's read mark, deleted ones not counted.
    pub(crate) unread: i64,
    /// How far the user has come.
    pub(crate) marks: Marks,
    pub(crate) active_at: Time,
    /// The user has not accepted the room.
    pub(crate) pending: bool,
}

impl Listed {
    /// The last message, where it and all before it are still to be delivered to the user.
    pub(crate) fn undelivered(&self) -> Option<i64> {
        self.last.as_ref().map(|last| last.id.get()).filter(|last| *last > self.marks.delivered)
    }
}
