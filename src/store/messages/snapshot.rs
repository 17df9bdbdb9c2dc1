//! Reads a room at one snapshot time: its members, its last messages, and earlier messages that a member has not read.
//!
//! All of it is read from one snapshot, and its cluster time is returned with it. A change event with that time or an
//! earlier one is included in the snapshot, a later one is not. So the history and the events after it have no gap and
//! no overlap, for edits as well as for messages.
//!
//! Receipt markers are raised by those that this server knows and the documents lack
//! ([`overlay`](crate::store::receipts::overlay)). A socket gets the markers up to the time when it joined its room,
//! and each later one as an event. Some of these may have been folded into the documents by the snapshot time: a
//! history's markers show which messages were already reported as read.

use bson::{RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt;
use handlers::{HistoryMessage, MessageId, RoomId, Time, UserId};
use mongodb::ClientSession;

use super::renderer::MessageRenderer;
use super::revisions::revised_after;
use crate::model::change::CommittedChange;
use crate::model::message::StoredMessage;
use crate::model::room::StoredMember;
use crate::store::{Store, StoreError, codec};

/// The number of messages in a socket's first frame (docs/protocol.md, First frames).
pub(crate) const HISTORY: usize = 50;

/// The number of a room's newest messages whose status is sent one by one (docs/protocol.md, Message status).
pub(crate) const WAITING: usize = 200;

/// The number of missed messages up to which a room catches up. Beyond it the room's sockets are closed, to open it
/// again.
const MISSED: i64 = 1000;

/// A room at the snapshot time `time`.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) time: Timestamp,
    pub(crate) members: Vec<StoredMember>,
    /// The last [`HISTORY`] that are not deleted, newest first.
    pub(crate) messages: Vec<StoredMessage>,
    /// Messages before those that a member has not read, newest first; together with `messages` at most [`WAITING`].
    /// Only read on request.
    pub(crate) waiting: Vec<StoredMessage>,
    /// False if the messages could not be read. Then both lists are empty.
    pub(crate) complete: bool,
}

impl Snapshot {
    /// Returns the numbers between which there may be messages before the page that a member has not read.
    pub(in crate::store) fn before_page(&self) -> Option<(i64, i64)> {
        let oldest = self.messages.last().map_or(0, |message| message.id.get());
        let read = self.members.iter().map(|member| member.marks.read).min().unwrap_or_default();
        (read < oldest - 1 && self.messages.len() == HISTORY).then_some((read, oldest))
    }

    /// Returns a number after which all messages that a member has not read are here.
    pub(crate) fn known_after(&self) -> i64 {
        if !self.complete {
            return i64::MAX;
        }
        let all = self.before_page().is_none() || (1..WAITING - HISTORY).contains(&self.waiting.len());
        let oldest = self.waiting.last().or(self.messages.last()).filter(|_| !all);
        oldest.map_or(0, |message| message.id.get() - 1)
    }

    /// Returns its messages as clients get them, in their order.
    pub(crate) fn visible_messages(&self) -> impl Iterator<Item = HistoryMessage<'_>> {
        let showing = MessageRenderer::to(&self.members);
        self.messages.iter().map(move |message| showing.show(message))
    }

    /// Returns the same messages as owned values.
    pub(crate) fn for_client(&self) -> Vec<HistoryMessage<'static>> {
        self.visible_messages().map(HistoryMessage::into_owned).collect()
    }

    /// Returns the number that `reader` has read up to after seeing all of this; None if it has read that far already.
    ///
    /// With manual receipts (`by_hand`) it is the number that was delivered up to.
    pub(crate) fn unread(&self, reader: &UserId, by_hand: bool) -> Option<i64> {
        let marks = self.members.iter().find(|member| member.user == *reader)?.marks;
        let reached = if by_hand { marks.delivered } else { marks.read };
        let newest =
            self.messages.iter().find(|message| message.sender != *reader).map(|message| message.id.get());
        // If the page is full of the reader's own messages, older ones of others may still be unread.
        let older = || {
            let full = self.messages.len() >= HISTORY;
            self.messages.last().filter(|_| full).map(|message| message.id.get() - 1)
        };
        newest.or_else(older).filter(|n| *n > reached)
    }
}

/// Later than every time.
pub(in crate::store) const LATEST: Timestamp = Timestamp { time: u32::MAX, increment: u32::MAX };

impl Store {
    /// Returns the members of a room, and a view for further reads at the same snapshot time. The markers are of that
    /// time, too, for callers that get no later ones as events.
    pub(crate) async fn members(
        &self,
        room: RoomId,
    ) -> Result<(SnapshotView, Vec<StoredMember>), StoreError> {
        let (view, mut members) = self.members_unraised(room).await?;
        let known = self.wait_until_reached(view.time).await;
        self.overlay.raise(room, known, &mut members);
        Ok((view, members))
    }

    /// Returns the same, with the markers that were raised up to `until`, which the change stream must have reached.
    /// For a socket that gets all later markers as events.
    pub(crate) async fn members_marked(
        &self,
        room: RoomId,
        until: Timestamp,
    ) -> Result<(SnapshotView, Vec<StoredMember>), StoreError> {
        let (view, mut members) = self.members_unraised(room).await?;
        self.overlay.raise(room, until, &mut members);
        Ok((view, members))
    }

    /// Returns the same, with all markers that this server knows by now.
    pub(crate) async fn members_known(
        &self,
        room: RoomId,
    ) -> Result<(SnapshotView, Vec<StoredMember>), StoreError> {
        self.members_marked(room, LATEST).await
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
            let time = session.snapshot_time().ok_or_else(|| StoreError::Fault("no cluster time".into()))?;
            Ok((SnapshotView { session, time }, members))
        })
        .await
    }

    /// Returns the messages that belong to `members`, at the same snapshot time. `waiting`: also those that a member
    /// has not read.
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

    /// Returns up to `limit` messages that are not deleted, with numbers above `after` and below `before`, newest
    /// first.
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

    /// Returns a room as it is now, and its changes after message `told` and since `since`, oldest first; None if
    /// there are more than [`MISSED`]. It uses the database's own stamps, because the servers' clocks may differ.
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
            // Each by its own index, and no further back than the messages that were sent already: a room may have
            // millions of messages.
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
            // In their order, because a socket that is cut off in between resumes after the last one that it was sent.
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

    /// Returns when a message was written; None if it doesn't exist.
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

/// A session at one snapshot time, for reads that belong together.
pub(crate) struct SnapshotView {
    pub(in crate::store) session: ClientSession,
    pub(in crate::store) time: Timestamp,
}

impl SnapshotView {
    /// Returns the snapshot's cluster time.
    pub(crate) fn time(&self) -> Timestamp {
        self.time
    }
}
