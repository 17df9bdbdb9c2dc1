//! Messages as the database stores them.

use bson::oid::ObjectId;
use handlers::{MessageId, Time, UserId};

/// A message that has not been deleted.
#[derive(Clone, Debug)]
pub(crate) struct StoredMessage {
    pub(crate) id: MessageId,
    pub(crate) sender: UserId,
    pub(crate) text: String,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
    /// The id of the request that wrote the message, if this id is known.
    pub(crate) write_id: Option<ObjectId>,
}

/// The last edit or delete of a message. The edits and deletes of a room are numbered 1, 2, 3 and so on, and `number`
/// is this number. `request` is the id of the request that edited or deleted the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revision {
    pub(crate) number: Option<i64>,
    pub(crate) request: Option<ObjectId>,
}
