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
    /// The id of the request that wrote the message, if that is known.
    pub(crate) write_id: Option<ObjectId>,
}

/// The last edit or delete of a message. `number` is its place among the edits and deletes of the room. `request` is
/// the id of the request that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revision {
    pub(crate) number: Option<i64>,
    pub(crate) request: Option<ObjectId>,
}
