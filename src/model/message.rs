//! Messages as they are stored.

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
    /// The request that wrote it, where that is known.
    pub(crate) write_id: Option<ObjectId>,
}

/// What revised a message last: which edit or delete of its room it was, and by which request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revision {
    pub(crate) number: Option<i64>,
    pub(crate) request: Option<ObjectId>,
}
