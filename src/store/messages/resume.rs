//! Reads the changes in a room since a socket was last connected. New messages are found by their message numbers.
//! Edits and deletions (revisions) are found by their revision numbers. The last message number and the last revision
//! number together are the room's *position*.

use bson::{RawDocumentBuf, doc};
use futures_util::{Stream, TryStreamExt};
use handlers::{MessageId, RoomId};
use mongodb::ClientSession;
use mongodb::error::Error;

use super::revisions::revised_after;
use super::snapshot::{HISTORY, SnapshotView};
use crate::model::message::StoredMessage;
use crate::model::room::StoredMember;
use crate::protocol::cursor::Position;
use crate::store::codec::{self, Undecodable};
use crate::store::json_size::{self, ByteBudget};
use crate::store::{Snapshot, Store, StoreError};

/// The maximum number of new messages in the first frame of a resuming socket. The client requests further messages by
/// `history` (docs/protocol.md, First frames).
const MESSAGES: usize = 1_000;

/// The maximum number of revisions between the position in the client's cursor and the room's position. If there are
/// more revisions, the socket receives the room's last messages instead of the changes.
const REVISED: i64 = 1_000;

/// The bytes of a message's number in a JSON list.
const NUMBER: usize = 17;

/// The number of documents in one reply of the database. A reply with messages of maximum length has 1 MB.
pub(in crate::store) const BATCH: u32 = 64;

/// The bounds in bytes for reading messages.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct MessageBytes {
    /// The approximate maximum bytes of the messages in JSON.
    pub(in crate::store) bytes: usize,
    /// An upper bound of the bytes of a sender's e-mail address, because each message in JSON contains this address.
    pub(in crate::store) email: usize,
}

impl MessageBytes {
    /// Reads messages until `most` messages are read or the next message does not fit into the bytes. Returns the
    /// messages, and whether `found` has more messages.
    pub(in crate::store) async fn messages(
        self,
        mut found: impl Stream<Item = Result<RawDocumentBuf, Error>> + Unpin,
        most: usize,
    ) -> Result<(Vec<StoredMessage>, bool), StoreError> {
        let (mut messages, mut fitting) = (Vec::new(), ByteBudget::new(self.bytes));
        while let Some(document) = found.try_next().await? {
            let Some(message) = codec::read_message(&document)? else { continue };
            if messages.len() == most || !fitting.takes(json_size::of_message(&message, self.email)) {
                return Ok((messages, true));
            }
            messages.push(message);
        }
        Ok((messages, false))
    }
}

/// The changes that a client missed, or the room's last messages if the client can't resume.
#[derive(Debug)]
pub(crate) struct ResumedRoom {
    /// True if the fields contain the missed changes. False if `messages` contains the room's last messages.
    pub(crate) resumed: bool,
    /// The new messages or the last messages, oldest first.
    pub(crate) messages: Vec<StoredMessage>,
    /// Edited messages that the client already has, in the order of their last edits.
    pub(crate) edited: Vec<StoredMessage>,
    /// Deleted messages that the client already has, in the order of their deletion.
    pub(crate) deleted: Vec<MessageId>,
    /// Whether the room has more messages: newer messages if `resumed` is true, otherwise older messages.
    pub(crate) has_more: bool,
    /// The room's position after all changes up to the snapshot time.
    pub(crate) position: Position,
}

impl ResumedRoom {
    /// Returns whether messages were left out because of the bound in bytes, and not because of the bound for their
    /// number.
    pub(crate) fn is_cut(&self) -> bool {
        let most = if self.resumed { MESSAGES } else { HISTORY };
        self.has_more && self.messages.len() < most
    }

    /// Returns the approximate bytes of these changes in JSON.
    pub(in crate::store) fn bytes(&self) -> usize {
        let messages = self.messages.iter().chain(&self.edited);
        messages.map(|message| json_size::of_message(message, json_size::EMAIL)).sum::<usize>()
            + self.deleted.len() * NUMBER
    }
}

impl Store {
    /// Reads a [`snapshot`](Self::snapshot) of a room, and the changes after the position `from`, at the same snapshot
    /// time. The changes take about `bytes` bytes of JSON at most.
    pub(crate) async fn changed(
        &self,
        room: RoomId,
        view: SnapshotView,
        members: Vec<StoredMember>,
        waiting: bool,
        from: Option<Position>,
        bytes: usize,
    ) -> Result<(Snapshot, ResumedRoom), StoreError> {
        let store = self.clone();
        self.run_detached(async move {
            let mut view = view;
            let snapshot = store.read_snapshot(&mut view, room, members, waiting).await?;
            let session = &mut view.session;
            let position = store.position(session, room).await?;
            let reached = match from {
                Some(from) => store.reach(session, room, position, from).await?,
                None => None,
            };
            let missed = match from.zip(reached) {
                Some((from, position)) => {
                    let email = json_size::of_longest_email(&snapshot.members);
                    store.missed_after(session, room, from, position, MessageBytes { bytes, email }).await?
                }
                None => None,
            };
            let changed = match missed {
                Some(changed) => changed,
                None => store.start_over(session, room, &snapshot, position, bytes).await?,
            };
            Ok((snapshot, changed))
        })
        .await
    }

    /// Returns a room's position at the session's snapshot time.
    pub(in crate::store) async fn position(
        &self,
        session: &mut ClientSession,
        room: RoomId,
    ) -> Result<Position, StoreError> {
        let last = self.messages.find_one(doc! { "_id": codec::of_room(room, "n") });
        let last = last.sort(doc! { "_id": -1 }).projection(doc! { "_id": 1 }).session(&mut *session).await?;
        let revised = self.messages.find_one(revised_after(room, 0)).sort(doc! { "rev": -1 });
        let revised = revised.projection(doc! { "rev": 1 }).session(&mut *session).await?;
        let message = |last: RawDocumentBuf| -> Result<i64, Undecodable> {
            Ok(codec::read_message_id(last.get_document("_id")?)?.1.get())
        };
        let message = match last {
            Some(last) => message(last)?,
            // The room is empty, or its messages were purged.
            None => self.given_out_in(session, room).await?.message,
        };
        Ok(Position {
            message,
            revision: revised.map(|last| codec::read_int(&last, "rev")).transpose()?.unwrap_or_default(),
        })
    }

    /// Returns the changes between the positions `from` and `position`. Leaves out the newest messages if they don't
    /// fit into the bytes. Returns none if there are too many revisions, or if the revisions don't fit into the bytes.
    pub(in crate::store) async fn missed_after(
        &self,
        session: &mut ClientSession,
        room: RoomId,
        from: Position,
        position: Position,
        MessageBytes { bytes, email }: MessageBytes,
    ) -> Result<Option<ResumedRoom>, StoreError> {
        // The read below skips the revisions of new messages, because the client receives the new messages in their
        // current state. This check also bounds the number of skipped revisions.
        if position.revision - from.revision > REVISED {
            return Ok(None);
        }
        let mut filter = revised_after(room, from.revision);
        filter.insert("_id.n", doc! { "$lte": from.message });
        let find = self.messages.find(filter).sort(doc! { "rev": 1 }).batch_size(BATCH);
        let mut cursor = find.session(&mut *session).await?;
        let (mut edited, mut deleted, mut fitting) = (Vec::new(), Vec::new(), ByteBudget::new(bytes));
        let mut revised = cursor.stream(&mut *session);
        while let Some(document) = revised.try_next().await? {
            let fits = if let Some(message) = codec::read_message(&document)? {
                let fits = fitting.takes(json_size::of_message(&message, email));
                edited.push(message);
                fits
            } else {
                let id = document.get_document("_id").map_err(Undecodable::from)?;
                deleted.push(codec::read_message_id(id)?.1);
                fitting.takes(NUMBER)
            };
            if !fits {
                return Ok(None);
            }
        }
        drop(revised);
        let left = MessageBytes { bytes: fitting.left(), email };
        let (messages, has_more) = self.after(session, room, from.message, left).await?;
        Ok(Some(ResumedRoom { resumed: true, messages, edited, deleted, has_more, position }))
    }

    /// Returns the messages after the number `n`, oldest first, and whether more messages follow.
    async fn after(
        &self,
        session: &mut ClientSession,
        room: RoomId,
        n: i64,
        fitting: MessageBytes,
    ) -> Result<(Vec<StoredMessage>, bool), StoreError> {
        let most = i64::try_from(MESSAGES).unwrap_or(i64::MAX) + 1;
        let find = self.messages.find(codec::alive(room, doc! { "$gt": n }));
        let find = find.sort(codec::by_number(1)).limit(most).batch_size(BATCH);
        let mut cursor = find.session(&mut *session).await?;
        fitting.messages(cursor.stream(session), MESSAGES).await
    }

    /// Returns the last messages of a room from its snapshot, for a client that can't resume.
    async fn start_over(
        &self,
        session: &mut ClientSession,
        room: RoomId,
        snapshot: &Snapshot,
        position: Position,
        bytes: usize,
    ) -> Result<ResumedRoom, StoreError> {
        let (email, mut fitting) = (json_size::of_longest_email(&snapshot.members), ByteBudget::new(bytes));
        let fits = |message: &&StoredMessage| fitting.takes(json_size::of_message(message, email));
        let mut messages: Vec<_> = snapshot.messages.iter().take_while(fits).cloned().collect();
        messages.reverse();
        let oldest = messages.first().map_or(0, |message| message.id.get());
        let cut = messages.len() < snapshot.messages.len();
        let has_more =
            cut || messages.len() == HISTORY && !self.page(session, room, 0, oldest, 1).await?.is_empty();
        let (edited, deleted) = (Vec::new(), Vec::new());
        Ok(ResumedRoom { resumed: false, messages, edited, deleted, has_more, position })
    }
}
