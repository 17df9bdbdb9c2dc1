//! Checks the membership of senders again if their messages have waited for a second or longer.
//!
//! The caller of the writer checks the sender's membership just before it queues a message. The message may then wait
//! for seconds, because the database is unavailable or an earlier write is slow. While the message waits, the sender
//! may be removed from the room.

use std::collections::HashSet;

use bson::{RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::{RoomId, UserId};
use tokio::time::Instant;

use super::{MessageWriterTask, QueuedMessage};
use crate::store::messages::draft::UnwrittenMessage;
use crate::store::room_port::RECHECK_AFTER;
use crate::store::{StoreError, codec};

impl MessageWriterTask {
    /// Refuses the messages that have waited for [`RECHECK_AFTER`] and whose senders are no longer members. Returns the
    /// messages that are not refused. If the memberships can't be read, returns the error and all messages unchanged.
    ///
    /// A message is never refused if an earlier attempt with an unknown outcome tried to write it. The earlier attempt
    /// started while the sender was a member, and may have written the message. Also, later messages of the room can
    /// keep their numbers only if this message keeps its number.
    pub(super) async fn refuse_former_members(
        &self,
        mut batch: Vec<QueuedMessage>,
    ) -> Result<Vec<QueuedMessage>, (Vec<QueuedMessage>, StoreError)> {
        let is_due = |entry: &QueuedMessage| {
            entry.draft.by_member && entry.tried.is_none() && entry.vouched.elapsed() >= RECHECK_AFTER
        };
        let due: HashSet<_> =
            batch.iter().filter(|entry| is_due(entry)).map(|entry| key(&entry.draft)).collect();
        if due.is_empty() {
            return Ok(batch);
        }
        let now = Instant::now();
        let members = match self.members_among(&due).await {
            Ok(members) => members,
            Err(error) => return Err((batch, error)),
        };
        for refused in batch.extract_if(.., |entry| is_due(entry) && !members.contains(&key(&entry.draft))) {
            let _ = refused.done.send(Err(StoreError::NotMember));
        }
        batch
            .iter_mut()
            .filter(|entry| due.contains(&key(&entry.draft)))
            .for_each(|entry| entry.vouched = now);
        Ok(batch)
    }

    async fn members_among(
        &self,
        senders: &HashSet<(RoomId, UserId)>,
    ) -> Result<HashSet<(RoomId, UserId)>, StoreError> {
        let ids: Vec<_> = senders.iter().map(|(room, user)| codec::member_id(*room, user)).collect();
        let members = self.store.members.clone();
        let find = async move {
            let find = members.find(doc! { "_id": { "$in": ids } }).projection(doc! { "_id": 1 });
            Ok(find.await?.try_collect().await?)
        };
        let found: Vec<RawDocumentBuf> = self.store.run_detached(find).await?;
        let read = |member: &RawDocumentBuf| {
            let id = member.get_document("_id").map_err(codec::Undecodable::from)?;
            Ok((codec::read_room(id)?, codec::read_member(member)?.user))
        };
        found.iter().map(read).collect()
    }
}

fn key(draft: &UnwrittenMessage) -> (RoomId, UserId) {
    (draft.room, draft.sender.clone())
}
