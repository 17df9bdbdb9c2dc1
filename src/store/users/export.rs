//! Reads all data of one user for an export. Only one batch of documents is in memory at a time, so a user may have any
//! number of messages.

use std::collections::HashMap;

use bson::{RawDocument, RawDocumentBuf, doc};
use futures_util::{StreamExt, TryStreamExt};
use handlers::{MessageId, Role, RoomId, Time, UserId};
use mongodb::Cursor;

use crate::model::receipts::Marks;
use crate::store::codec::{self, Undecodable};
use crate::store::{Store, StoreError};

/// The number of documents in one reply of the database. An export holds one reply in memory.
const BATCH: u32 = 200;

/// A user's membership in a room, as exported.
#[derive(Debug)]
pub(crate) struct ExportedMembership {
    pub(crate) room: RoomId,
    pub(crate) email: Option<String>,
    pub(crate) role: Role,
    pub(crate) marks: Marks,
    pub(crate) joined_at: Option<Time>,
}

/// A message that the user wrote, as exported. `text` is None for a deleted message.
#[derive(Debug)]
pub(crate) struct ExportedMessage {
    pub(crate) room: RoomId,
    pub(crate) id: MessageId,
    pub(crate) text: Option<String>,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
    pub(crate) deleted_at: Option<Time>,
}

/// A database cursor over the documents of an export. The caller must await each call of [`next`](Self::next) to its
/// end, because a dropped future of the MongoDB driver leaves its operation half done.
pub(crate) struct ExportCursor<T> {
    cursor: Cursor<RawDocumentBuf>,
    read: DecodeFn<T>,
}

/// A function that decodes a document.
type DecodeFn<T> = Box<dyn Fn(&RawDocument) -> Result<T, Undecodable> + Send>;

impl<T> ExportCursor<T> {
    pub(in crate::store) fn new(
        cursor: Cursor<RawDocumentBuf>,
        read: impl Fn(&RawDocument) -> Result<T, Undecodable> + Send + 'static,
    ) -> Self {
        Self { cursor, read: Box::new(read) }
    }

    /// Returns the next item. None at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<T, StoreError>> {
        let document = self.cursor.next().await?;
        Some(document.map_err(StoreError::from).and_then(|document| Ok((self.read)(&document)?)))
    }
}

impl Store {
    /// Returns all memberships of a user.
    pub(crate) async fn memberships(
        &self,
        user: &UserId,
    ) -> Result<ExportCursor<ExportedMembership>, StoreError> {
        let raised = self.raised_of(user).await?;
        let members = self.members.clone();
        let filter = doc! { "_id.user": codec::user_bson(user) };
        self.run_detached(async move {
            let cursor = members.find(filter).sort(doc! { "_id.room": 1 }).batch_size(BATCH).await?;
            Ok(ExportCursor { cursor, read: Box::new(move |document| read_membership(document, &raised)) })
        })
        .await
    }

    /// Returns the first memberships of a user, at most `most`, ordered by the rooms' ids.
    pub(crate) async fn some_memberships(
        &self,
        user: &UserId,
        most: usize,
    ) -> Result<Vec<ExportedMembership>, StoreError> {
        let raised = self.raised_of(user).await?;
        let members = self.members.clone();
        let filter = doc! { "_id.user": codec::user_bson(user) };
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.run_detached(async move {
            let find = members.find(filter).sort(doc! { "_id.room": 1 }).limit(most);
            let found: Vec<RawDocumentBuf> = find.await?.try_collect().await?;
            Ok(found.iter().map(|document| read_membership(document, &raised)).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Returns the user's receipt markers that the members' documents may not contain yet. The caller must call this
    /// function before it reads the documents. Otherwise a marker could be written into a document after the documents
    /// were read, and dropped from memory before this call. Then the export would lack the marker.
    async fn raised_of(&self, user: &UserId) -> Result<HashMap<RoomId, Marks>, StoreError> {
        let known = self.wait_until_reached(self.moment().await?).await;
        Ok(self.overlay.of_user(user, self.room_ids(user).await?, known))
    }

    /// Returns all messages of a user, including deleted messages. The messages are roughly in the order in which the
    /// user wrote them.
    pub(crate) async fn authored(&self, user: &UserId) -> Result<ExportCursor<ExportedMessage>, StoreError> {
        let messages = self.messages.clone();
        let filter = doc! { "sender": codec::user_bson(user) };
        self.run_detached(async move {
            let cursor = messages.find(filter).batch_size(BATCH).await?;
            Ok(ExportCursor { cursor, read: Box::new(read_authored) })
        })
        .await
    }
}

fn read_membership(
    document: &RawDocument,
    raised: &HashMap<RoomId, Marks>,
) -> Result<ExportedMembership, Undecodable> {
    let room = codec::read_room(document.get_document("_id")?)?;
    let member = codec::read_member(document)?;
    let joined_at = document.get("joined_at")?.map(|_| codec::read_time(document, "joined_at"));
    Ok(ExportedMembership {
        room,
        email: member.email,
        role: member.role,
        marks: member.marks.max(raised.get(&room).copied().unwrap_or_default()),
        joined_at: joined_at.transpose()?,
    })
}

fn read_authored(document: &RawDocument) -> Result<ExportedMessage, Undecodable> {
    let (room, id) = codec::read_message_id(document.get_document("_id")?)?;
    let deleted_at = document.get("deleted_at")?.map(|_| codec::read_time(document, "deleted_at"));
    let deleted_at = deleted_at.transpose()?;
    let text = match deleted_at {
        Some(_) => None,
        None => Some(document.get_str("text")?.to_owned()),
    };
    Ok(ExportedMessage {
        room,
        id,
        text,
        created_at: codec::read_time(document, "created_at")?,
        updated_at: codec::read_time(document, "updated_at")?,
        deleted_at,
    })
}
