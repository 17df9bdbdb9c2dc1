//! The handlers' port: the store, bound to one call's caller, room and deadline.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use handlers::{Error, MessageId, Pending, Role, Room, RoomId, Text, UserId};
use tokio::time::Instant;

use super::{Store, StoreError, Writer, documents};

/// How long before the call's deadline a write that can't begin is given up, beyond what choosing a server may
/// take: time for the client to hear `unavailable`, which is certain, and not `timeout`, which isn't. Half of a
/// deadline that is too short for that.
const MARGIN: Duration = Duration::from_millis(500);

/// One caller in one room, until one deadline.
pub struct BoundRoom {
    /// Where.
    pub store: Store,
    /// Through which messages go.
    pub writer: Writer,
    /// The room.
    pub room: RoomId,
    /// Who writes.
    pub caller: UserId,
    /// What this call is known by, in the log as in the database.
    pub request: ObjectId,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// `mongodb.selection_ms`
    pub selection: Duration,
}

/// When a write must have begun for its caller to learn its end by `deadline`.
pub(crate) fn begin_by(deadline: Instant, selection: Duration) -> Instant {
    let now = Instant::now();
    let left = deadline.saturating_duration_since(now);
    now + left.saturating_sub(selection + MARGIN).max(left / 2)
}

impl BoundRoom {
    async fn message(&self, id: MessageId) -> Result<documents::Message, Error> {
        let messages = self.store.messages.clone();
        let filter = doc! { "_id": documents::message_id(self.room, id) };
        let comment = self.request;
        let found =
            self.store.bounded(async move { Ok(messages.find_one(filter).comment(comment).await?) }).await;
        let document: Option<RawDocumentBuf> = found.map_err(StoreError::of_read)?;
        let Some(document) = document else { return Err(Error::not_found()) };
        documents::read_message(&document).map_err(Error::internal)?.ok_or_else(Error::not_found)
    }

    /// Changes one message of the room that is not deleted. The driver tries again once by itself, and the
    /// server recognises the second try.
    async fn change(&self, id: MessageId, update: Document) -> Result<(), Error> {
        let messages = self.store.messages.clone();
        let filter = doc! { "_id": documents::message_id(self.room, id), "deleted_at": { "$exists": false } };
        let comment = self.request;
        let changed = self
            .store
            .bounded(
                async move { Ok(messages.update_one(filter, update).comment(comment).await?.matched_count) },
            )
            .await;
        match changed.map_err(StoreError::of_write)? {
            0 => Err(Error::not_found()),
            _ => Ok(()),
        }
    }
}

impl Room for BoundRoom {
    fn append(&self, text: Text) -> Pending<'_, MessageId> {
        Box::pin(async move {
            let begin_by = begin_by(self.deadline, self.selection);
            let written =
                self.writer.append(self.room, self.caller.clone(), text, self.request, begin_by).await;
            written.map_err(StoreError::of_write)
        })
    }

    fn author(&self, id: MessageId) -> Pending<'_, UserId> {
        Box::pin(async move { Ok(self.message(id).await?.sender) })
    }

    fn edit(&self, id: MessageId, text: Text) -> Pending<'_, ()> {
        // A change event names only what differs, and the same text again must be told too: `edit` differs each
        // time, and so stands there whole.
        let edit = doc! { "text": text.as_str(), "id": self.request };
        let now = Bson::DateTime(DateTime::now());
        Box::pin(self.change(id, doc! { "$set": { "text": text.as_str(), "updated_at": now, "edit": edit } }))
    }

    fn delete(&self, id: MessageId) -> Pending<'_, ()> {
        let now = Bson::DateTime(DateTime::now());
        Box::pin(
            self.change(id, doc! { "$set": { "deleted_at": now }, "$unset": { "text": "", "edit": "" } }),
        )
    }

    fn role(&self) -> Pending<'_, Role> {
        Box::pin(async move {
            let role = self.store.role(self.room, &self.caller).await.map_err(StoreError::of_read)?;
            Ok(role.unwrap_or(Role::Member))
        })
    }
}
