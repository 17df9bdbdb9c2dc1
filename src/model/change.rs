//! Changes of rooms, as the change stream brings them.

use handlers::{MessageId, Time, UserId};

use super::message::{Revision, StoredMessage};
use super::receipts::Marks;
use crate::protocol::ephemeral::CustomEvent;

/// What the database did, in one room.
#[derive(Clone, Debug)]
pub(crate) enum CommittedChange {
    Sent(StoredMessage),
    Edited {
        id: MessageId,
        text: String,
        updated_at: Time,
        revision: Revision,
    },
    Deleted {
        id: MessageId,
        revision: Revision,
    },
    /// A member is there, new or not, with at least these marks.
    Entered {
        user: UserId,
        marks: Marks,
    },
    /// Members have at least these marks. Of one who has left meanwhile it is too late.
    Marked(Vec<(UserId, Marks)>),
    Left {
        user: UserId,
    },
    /// Nothing of the room's: Level 2 sockets of others are told that this user is typing.
    Typing {
        user: UserId,
    },
    /// Nothing of the room's: its sockets are told, and that is all.
    Told(CustomEvent),
}
