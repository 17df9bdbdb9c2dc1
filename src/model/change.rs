//! Changes of rooms, as the change stream reports them.

use handlers::{MessageId, Time, UserId};

use super::message::{Revision, StoredMessage};
use super::receipts::Marks;
use crate::protocol::ephemeral::CustomEvent;

/// A committed change in one room.
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
    /// A user is a member, newly or already before, with at least these markers.
    Entered {
        user: UserId,
        marks: Marks,
    },
    /// Members have at least these markers. Members who have left since are ignored.
    Marked(Vec<(UserId, Marks)>),
    Left {
        user: UserId,
    },
    /// Not stored in the room. Other members' Level 2 sockets are notified that this user is typing.
    Typing {
        user: UserId,
    },
    /// Not stored in the room. It is only sent to the room's sockets.
    Custom(CustomEvent),
}
