//! A message before it is written, and its conversion into a document.

use bson::oid::ObjectId;
use bson::raw::cstr;
use bson::{DateTime, RawDocumentBuf, Timestamp, rawdoc};
use handlers::{RoomId, Text, Time, UserId};

use super::sequence_cache::LastMessage;
use crate::store::codec;

/// A message that is not written yet. `write_id` identifies the write, so that the message can be found if the outcome
/// of the write is unknown.
#[derive(Debug)]
pub(crate) struct UnwrittenMessage {
    pub(crate) room: RoomId,
    pub(crate) sender: UserId,
    pub(crate) text: Text,
    /// The client's id for the message, or the id of an idempotent request. Unique for the sender in the room.
    pub(crate) client_id: Option<String>,
    /// The estimated time of the database's clock. If the previous message in the room has a later time, the message
    /// gets that later time.
    pub(crate) at: Time,
    pub(crate) write_id: ObjectId,
    /// Whether the sender must be a member of the room. False for a message that the API writes.
    pub(crate) by_member: bool,
}

impl UnwrittenMessage {
    /// Returns the document with this number and this time.
    pub(crate) fn numbered(&self, LastMessage { n, at }: LastMessage) -> RawDocumentBuf {
        let at = DateTime::from_millis(at.0);
        let mut document = rawdoc! {
            "_id": { "room": self.room.get(), "n": n },
            "sender": codec::user(&self.sender),
            "text": self.text.as_str(),
            "created_at": at,
            "updated_at": at,
            "write_id": self.write_id,
            // A placeholder: the database replaces it by its own time.
            "stamp": Timestamp { time: 0, increment: 0 },
        };
        if let Some(client_id) = &self.client_id {
            document.append(cstr!("client_id"), client_id.as_str());
        }
        document
    }
}
