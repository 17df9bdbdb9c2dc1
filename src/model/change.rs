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
    /// A user became a member and has at least these receipt markers. After the change stream has lost its history,
    /// this variant also stands for each existing member.
    Entered {
        user: UserId,
        marks: Marks,
    },
    /// These users have at least these receipt markers. Users who are no longer members are ignored.
    Marked(Vec<(UserId, Marks)>),
    Left {
        user: UserId,
    },
    /// A member is typing. This event is not stored in the room, but only sent to the Level 2 and Level 3 sockets of
    /// the other members.
    Typing {
        user: UserId,
    },
    /// An event of an application's own action. The event is not stored in the room, but only sent to the room's
    /// sockets.
    Custom(CustomEvent),
}
