//! Reads a room at one snapshot time: its members, its last messages, and earlier messages that some member has not
//! read.
//!
//! A snapshot is the state of the database at one cluster time (MongoDB's logical clock). The database gives each
//! commit a cluster time. All reads of a snapshot see the same state. Changes in the change stream also have cluster
//! times. The snapshot contains the changes up to its own cluster time, and no later change. Therefore a client that
//! receives the snapshot and then the later changes misses nothing and receives nothing twice. This is true for
//! messages, edits and deletions.
//!
//! Receipt markers are an exception. Parlor first writes a new marker to the receipts journal (the collection `marks`),
//! and later to the member's document. After a read of the documents, this server therefore raises the members' markers
//! to the markers that it has received from the change stream ([`overlay`](crate::store::receipts::overlay)). The first
//! frame of a socket contains the markers up to the time at which the socket joined its room. Each later marker arrives
//! as an event. The documents may already contain some of these later markers. Then the client sees a later marker in
//! the first frame, before the marker's event arrives.

use bson::{RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt;
use handlers::{HistoryMessage, MessageId, RoomId, Time, UserId};
use mongodb::ClientSession;

use super::renderer::MessageRenderer;
use super::revisions::revised_after;
use crate::model::change::CommittedChange;
use crate::model::cluster_time;
use crate::model::message::StoredMessage;
use crate::model::room::StoredMember;
use crate::store::{Store, StoreError, codec};

/// The maximum number of messages in a socket's first frame (docs/protocol.md, First frames).
pub(crate) const HISTORY: usize = 50;

/// The maximum number of a room's newest unread messages for which status events are sent (docs/protocol.md, Message
/// status).
pub(crate) const WAITING: usize = 200;

/// The maximum number of missed changes that a room's sockets receive after the change stream has lost its position. If
/// the sockets missed more changes, the server closes them, and the clients connect again.
const MISSED: i64 = 1000;

/// A room at the snapshot time `time`.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) time: Timestamp,
    pub(crate) members: Vec<StoredMember>,
    /// The last messages that are not deleted, newest first, at most [`HISTORY`].
    pub(crate) messages: Vec<StoredMessage>,
    /// Earlier messages that at least one member has not read, newest first. `messages` and `waiting` together have at
    /// most [`WAITING`] messages. Empty if the caller did not ask for these messages.
    pub(crate) waiting: Vec<StoredMessage>,
    /// False if the messages could not be read. In this case both lists are empty.
    pub(crate) complete: bool,
}

impl Snapshot {
    /// Returns two message numbers. The messages between these numbers are older than `messages`, and at least one
    /// member may not have read them. Returns none if there are no older unread messages.
    pub(in crate::store) fn before_page(&self) -> Option<(i64, i64)> {
        let oldest = self.messages.last().map_or(0, |message| message.id.get());
        let read = self.members.iter().map(|member| member.marks.read).min().unwrap_or_default();
        (read < oldest - 1 && self.messages.len() == HISTORY).then_some((read, oldest))
    }

    /// Returns a message number. The snapshot contains every message after this number that at least one member has not
    /// read.
    pub(crate) fn known_after(&self) -> i64 {
        if !self.complete {
            return i64::MAX;
        }
        let all = self.before_page().is_none() || (1..WAITING - HISTORY).contains(&self.waiting.len());
        let oldest = self.waiting.last().or(self.messages.last()).filter(|_| !all);
        oldest.map_or(0, |message| message.id.get() - 1)
    }

    /// Returns `messages` in the form that clients receive, in the same order.
    pub(crate) fn visible_messages(&self) -> impl Iterator<Item = HistoryMessage<'_>> {
        let showing = MessageRenderer::to(&self.members);
        self.messages.iter().map(move |message| showing.show(message))
    }

    /// Returns the messages of [`visible_messages`](Self::visible_messages) as owned values.
    pub(crate) fn for_client(&self) -> Vec<HistoryMessage<'static>> {
        self.visible_messages().map(HistoryMessage::into_owned).collect()
    }

    /// Returns the number of the newest message in this snapshot that `reader` did not send. The caller raises the
    /// receipt marker of `reader` to this number. Returns none if the marker already has this value or a greater value.
    /// The marker is the read marker, or the delivered marker for manual receipts (`by_hand`).
    pub(crate) fn unread(&self, reader: &UserId, by_hand: bool) -> Option<i64> {
        let marks = self.members.iter().find(|member| member.user == *reader)?.marks;
        let reached = if by_hand { marks.delivered } else { marks.read };
        let newest =
            self.messages.iter().find(|message| message.sender != *reader).map(|message| message.id.get());
        // If all messages of the snapshot are the reader's own, older messages of other users may be undelivered. Then
        // the result is the number before the oldest message of the snapshot.
        let older = || {
            let full = self.messages.len() >= HISTORY;
            self.messages.last().filter(|_| full).map(|message| message.id.get() - 1)
        };
        newest.or_else(older).filter(|n| *n > reached)
    }
}

impl Store {
    /// Returns the members of a room, and a session for further reads at the same snapshot time. The members have their
    /// receipt markers of this time: the call waits until the change stream has reached the time. This function is for
    /// callers that do not receive later markers as events.
    pub(crate) async fn members(
        &self,
        room: RoomId,
    ) -> Result<(SnapshotView, Vec<StoredMember>), StoreError> {
        let (view, mut members) = self.members_unraised(room).await?;
        let known = self.wait_until_reached(view.time).await;
        self.overlay.raise(room, known, &mut members);
        Ok((view, members))
    }

    /// Returns the members like [`members`](Self::members), but with the receipt markers up to the time `until`. The
    /// change stream must have reached this time. This function is for sockets, because a socket receives all later
    /// markers as events.
    pub(crate) async fn members_marked(
        &self,
        room: RoomId,
        until: Timestamp,
    ) -> Result<(SnapshotView, Vec<StoredMember>), StoreError> {
        let (view, mut members) = self.members_unraised(room).await?;
        self.overlay.raise(room, until, &mut members);
        Ok((view, members))
    }

    /// Returns the members like [`members`](Self::members), but with all receipt markers that this server has received
    /// so far.
    pub(crate) async fn members_known(
        &self,
        room: RoomId,
    ) -> Result<(SnapshotView, Vec<StoredMember>), StoreError> {
        self.members_marked(room, cluster_time::MAX).await
    }

    async fn members_unraised(&self, room: RoomId) -> Result<(SnapshotView, Vec<StoredMember>), StoreError> {
        let store = self.clone();
        self.run_detached(async move {
            let mut session = store.client.start_session().snapshot(true).await?;
            let filter = doc! { "_id": codec::of_room(room, "user") };
            let mut cursor = store.members.find(filter).session(&mut session).await?;
            let documents: Vec<RawDocumentBuf> = cursor.stream(&mut session).try_collect().await?;
            let members =
                documents.iter().map(|document| codec::read_member(document)).collect::<Result<_, _>>()?;
            let time = session
                .snapshot_time()
                .ok_or_else(|| StoreError::Fault("the database returned no cluster time".into()))?;
            Ok((SnapshotView { session, time }, members))
        })
        .await
    }

    /// Reads the last messages and returns the snapshot of the room. `members` and `view` come from an earlier read of
    /// the members. If `waiting` is true, also reads the earlier messages that at least one member has not read.
    pub(crate) async fn snapshot(
        &self,
        room: RoomId,
        view: SnapshotView,
        members: Vec<StoredMember>,
        waiting: bool,
    ) -> Result<Snapshot, StoreError> {
        let store = self.clone();
        self.run_detached(async move {
            let mut view = view;
            store.read_snapshot(&mut view, room, members, waiting).await
        })
        .await
    }

    /// Reads the snapshot like [`snapshot`](Self::snapshot), but in the task of the caller. The caller must already run
    /// as a detached operation ([`run_detached`](Self::run_detached)).
    pub(in crate::store) async fn read_snapshot(
        &self,
        view: &mut SnapshotView,
        room: RoomId,
        members: Vec<StoredMember>,
        waiting: bool,
    ) -> Result<Snapshot, StoreError> {
        let SnapshotView { session, time } = view;
        let messages = self.page(session, room, 0, i64::MAX, HISTORY).await?;
        let mut snapshot = Snapshot { time: *time, members, messages, waiting: Vec::new(), complete: true };
        if waiting && let Some((read, oldest)) = snapshot.before_page() {
            snapshot.waiting = self.page(session, room, read, oldest, WAITING - HISTORY).await?;
        }
        Ok(snapshot)
    }

    /// Returns up to `limit` messages with numbers greater than `after` and less than `before`, newest first. Deleted
    /// messages are left out.
    pub(in crate::store) async fn page(
        &self,
        session: &mut ClientSession,
        room: RoomId,
        after: i64,
        before: i64,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let numbers = doc! { "$gt": after, "$lt": before };
        let find = self
            .messages
            .find(codec::alive(room, numbers))
            .sort(codec::by_number(-1))
            .limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let find = find.batch_size(u32::try_from(limit).unwrap_or(u32::MAX));
        let mut cursor = find.session(&mut *session).await?;
        let documents: Vec<RawDocumentBuf> = cursor.stream(session).try_collect().await?;
        let messages = documents.iter().filter_map(|document| codec::read_message(document).transpose());
        Ok(messages.collect::<Result<_, _>>()?)
    }

    /// Returns the current state of a room, and the changes that its sockets on this server missed, oldest first. The
    /// changes are the messages after number `told`, and the revisions (edits and deletions) since `since`. Returns
    /// none if there are more than [`MISSED`] changes. A revision counts as later than `since` by the stamp that the
    /// database gave it. The servers' clocks are not used, because they may differ.
    pub(crate) async fn missed(
        &self,
        room: RoomId,
        told: i64,
        since: Timestamp,
    ) -> Result<Option<(Snapshot, Vec<CommittedChange>)>, StoreError> {
        let (view, members) = self.members_known(room).await?;
        let SnapshotView { mut session, time } = view;
        let store = self.clone();
        self.run_detached(async move {
            let most = usize::try_from(MISSED).unwrap_or(usize::MAX);
            // A room may have millions of messages. Therefore one index finds the new messages, and another index finds
            // the revisions. Each read stops as early as possible.
            let mut later = codec::of_room(room, "n");
            later.insert("$gt", doc! { "room": room.get(), "n": told });
            let later = doc! { "_id": later };
            let find = store.messages.find(later).sort(doc! { "_id": 1 }).limit(MISSED + 1);
            let mut cursor = find.session(&mut session).await?;
            let later: Vec<RawDocumentBuf> = cursor.stream(&mut session).try_collect().await?;
            let find = store.messages.find(revised_after(room, 0)).sort(doc! { "rev": -1 }).limit(MISSED + 1);
            let mut cursor = find.session(&mut session).await?;
            let mut revised = Vec::new();
            {
                let mut latest = cursor.stream(&mut session);
                while let Some(document) = latest.try_next().await? {
                    if codec::read_stamp(&document, "revised")?.is_none_or(|revised| revised < since) {
                        break;
                    }
                    revised.push(document);
                }
            }
            if later.len() + revised.len() > most {
                return Ok(None);
            }
            let mut changes = Vec::with_capacity(later.len() + revised.len());
            let messages = later.iter().filter_map(|document| codec::read_message(document).transpose());
            for message in messages {
                changes.push(CommittedChange::Sent(message?));
            }
            // Revisions must be sent in their order. If a socket closes before it has written all revisions, its client
            // resumes after the last revision that it has received.
            for document in revised.iter().rev() {
                let id = document.get_document("_id").map_err(codec::Undecodable::from)?;
                let (_, id) = codec::read_message_id(id)?;
                let revision = codec::read_revision(document)?;
                if id.get() > told {
                    continue;
                }
                changes.push(match codec::read_message(document)? {
                    None => CommittedChange::Deleted { id, revision },
                    Some(StoredMessage { text, updated_at, .. }) => {
                        CommittedChange::Edited { id, text, updated_at, revision }
                    }
                });
            }
            let snapshot =
                Snapshot { time, members, messages: Vec::new(), waiting: Vec::new(), complete: true };
            Ok(Some((snapshot, changes)))
        })
        .await
    }

    /// Returns the time when a message was sent. Returns none if the message does not exist.
    pub(in crate::store) async fn sent_at(
        &self,
        room: RoomId,
        id: MessageId,
    ) -> Result<Option<Time>, StoreError> {
        let messages = self.messages.clone();
        let filter = doc! { "_id": codec::message_id(room, id) };
        let find = async move { Ok(messages.find_one(filter).projection(doc! { "created_at": 1 }).await?) };
        let found = self.run_detached(find).await?;
        Ok(found.map(|message| codec::read_time(&message, "created_at")).transpose()?)
    }
}

/// A session for several reads at one snapshot time.
pub(crate) struct SnapshotView {
    pub(in crate::store) session: ClientSession,
    pub(in crate::store) time: Timestamp,
}

impl SnapshotView {
    /// Returns the cluster time of the snapshot.
    pub(crate) fn time(&self) -> Timestamp {
        self.time
    }
}
