//! A message before it is written, and its conversion to a document.

use bson::oid::ObjectId;
use bson::raw::cstr;
use bson::{DateTime, RawDocumentBuf, rawdoc};
use handlers::{RoomId, Text, Time, UserId};

use super::sequence_cache::LastMessage;
use crate::model::cluster_time;
use crate::store::codec;

/// A message that is not yet written to the database. The `write_id` identifies the write. If the outcome of the write
/// is unknown, the writer looks for a message with this `write_id`.
#[derive(Debug)]
pub(crate) struct UnwrittenMessage {
    pub(crate) room: RoomId,
    pub(crate) sender: UserId,
    pub(crate) text: Text,
    /// The client's id for the message, or an id made from an idempotent request of the HTTP API. Only one message of
    /// the sender in the room may have this id.
    pub(crate) client_id: Option<String>,
    /// The estimated time of the database's clock. If the previous message in the room has a later time, this message
    /// gets that later time.
    pub(crate) at: Time,
    pub(crate) write_id: ObjectId,
    /// Whether the sender must still be a member of the room when the message is written. False for a message that the
    /// backend sends through the HTTP API.
    pub(crate) by_member: bool,
}

impl UnwrittenMessage {
    /// Returns the message's document for the collection `messages`, with the number `n` and the time `at`.
    pub(crate) fn numbered(&self, LastMessage { n, at }: LastMessage) -> RawDocumentBuf {
        let at = DateTime::from_millis(at.0);
        let mut document = rawdoc! {
            "_id": { "room": self.room.get(), "n": n },
            "sender": codec::user(&self.sender),
            "text": self.text.as_str(),
            "created_at": at,
            "updated_at": at,
            "write_id": self.write_id,
            "stamp": cluster_time::ZERO,
        };
        if let Some(client_id) = &self.client_id {
            document.append(cstr!("client_id"), client_id.as_str());
        }
        document
    }
}
