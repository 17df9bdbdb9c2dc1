//! What changed in a room since a socket was last there: messages by their numbers, edits and deletes by theirs.

use bson::{RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::{MessageId, RoomId};
use mongodb::ClientSession;

use super::documents::{self, Member, Message, Undecodable};
use super::history::{HISTORY, View};
use super::revisions::revised_after;
use super::{Snapshot, Store, StoreError};
use crate::cursor::Position;

/// New messages that are told to a socket that resumes; the rest it has by `history` (protocol.md, Level 2).
const MESSAGES: usize = 1_000;

/// Edits and deletes of older messages that are told to a socket that resumes; where there are more it starts anew.
const REVISED: i64 = 1_000;

/// What a socket missed, or the room's last messages where that can't be said.
#[derive(Debug)]
pub(crate) struct Changed {
    /// Whether it is what was missed.
    pub(crate) resumed: bool,
    /// Oldest first.
    pub(crate) messages: Vec<Message>,
    /// Older ones, in the order of their last edits.
    pub(crate) edited: Vec<Message>,
    /// Older ones, in the order in which they were deleted.
    pub(crate) deleted: Vec<MessageId>,
    /// Whether there are more messages: newer ones where it is what was missed, else older ones.
    pub(crate) has_more: bool,
    /// How far the room has come, all of this included.
    pub(crate) position: Position,
}

impl Changed {
    /// What its messages take, in bytes: their texts, and about what else is told of each.
    pub(super) fn bytes(&self) -> usize {
        self.messages.iter().chain(&self.edited).map(|message| message.text.len() + 200).sum()
    }
}

impl Store {
    /// As [`snapshot`](Self::snapshot), and of the same moment what changed after `from`.
    pub(crate) async fn changed(
        &self,
        room: RoomId,
        view: View,
        members: Vec<Member>,
        waiting: bool,
        from: Option<Position>,
    ) -> Result<(Snapshot, Changed), StoreError> {
        let store = self.clone();
        self.bounded(async move {
            let mut view = view;
            let snapshot = store.read_snapshot(&mut view, room, members, waiting).await?;
            let session = &mut view.session;
            let position = store.position(session, room).await?;
            let from = from.filter(|from| position.reaches(*from));
            let missed = match from {
                Some(from) => store.missed_after(session, room, from, position).await?,
                None => None,
            };
            let changed = match missed {
                Some(changed) => changed,
                None => store.anew(session, room, &snapshot, position).await?,
            };
            Ok((snapshot, changed))
        })
        .await
    }

    /// How far a room has come.
    pub(super) async fn position(
        &self,
        session: &mut ClientSession,
        room: RoomId,
    ) -> Result<Position, StoreError> {
        let last = self.messages.find_one(doc! { "_id": documents::of_room(room, "n") });
        let last = last.sort(doc! { "_id": -1 }).projection(doc! { "_id": 1 }).session(&mut *session).await?;
        let revised = self.messages.find_one(revised_after(room, 0)).sort(doc! { "rev": -1 });
        let revised = revised.projection(doc! { "rev": 1 }).session(session).await?;
        let message = |last: RawDocumentBuf| -> Result<i64, Undecodable> {
            Ok(documents::read_message_id(last.get_document("_id")?)?.1.get())
        };
        Ok(Position {
            message: last.map(message).transpose()?.unwrap_or_default(),
            revision: revised.map(|last| documents::read_int(&last, "rev")).transpose()?.unwrap_or_default(),
        })
    }

    /// None where it is too much.
    pub(super) async fn missed_after(
        &self,
        session: &mut ClientSession,
        room: RoomId,
        from: Position,
        position: Position,
    ) -> Result<Option<Changed>, StoreError> {
        // Also a bound of what is looked through for those that are older.
        if position.revision - from.revision > REVISED {
            return Ok(None);
        }
        let mut filter = revised_after(room, from.revision);
        filter.insert("_id.n", doc! { "$lte": from.message });
        let find = self.messages.find(filter).sort(doc! { "rev": 1 });
        let mut cursor = find.session(&mut *session).await?;
        let revised: Vec<RawDocumentBuf> = cursor.stream(session).try_collect().await?;
        let (mut edited, mut deleted) = (Vec::new(), Vec::new());
        for document in &revised {
            if let Some(message) = documents::read_message(document)? {
                edited.push(message);
            } else {
                let id = document.get_document("_id").map_err(Undecodable::from)?;
                deleted.push(documents::read_message_id(id)?.1);
            }
        }
        let (messages, has_more) = self.after(session, room, from.message).await?;
        Ok(Some(Changed { resumed: true, messages, edited, deleted, has_more, position }))
    }

    /// The messages after a number, oldest first, and whether there are more than are told.
    async fn after(
        &self,
        session: &mut ClientSession,
        room: RoomId,
        n: i64,
    ) -> Result<(Vec<Message>, bool), StoreError> {
        let most = i64::try_from(MESSAGES).unwrap_or(i64::MAX) + 1;
        let find = self.messages.find(documents::alive(room, doc! { "$gt": n }));
        let find = find.sort(documents::by_number(1)).limit(most);
        let mut cursor = find.session(&mut *session).await?;
        let found: Vec<RawDocumentBuf> = cursor.stream(session).try_collect().await?;
        let messages = found.iter().take(MESSAGES).filter_map(|it| documents::read_message(it).transpose());
        Ok((messages.collect::<Result<_, _>>()?, found.len() > MESSAGES))
    }

    /// The last messages of a room, as a snapshot has them.
    async fn anew(
        &self,
        session: &mut ClientSession,
        room: RoomId,
        snapshot: &Snapshot,
        position: Position,
    ) -> Result<Changed, StoreError> {
        let messages: Vec<_> = snapshot.messages.iter().rev().cloned().collect();
        let oldest = messages.first().map_or(0, |message| message.id.get());
        let has_more = messages.len() == HISTORY && !self.page(session, room, 0, oldest, 1).await?.is_empty();
        let (edited, deleted) = (Vec::new(), Vec::new());
        Ok(Changed { resumed: false, messages, edited, deleted, has_more, position })
    }
}
