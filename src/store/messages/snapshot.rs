//! Reading a room as it was at one moment: its members, its last messages, and what still waits for a reader.
//!
//! All of it is read from one snapshot, whose cluster time comes with it. A change event with that time or an
//! earlier one is in what was read, a later one is not: that is what makes the seam between the history and
//! the events exact, for edits as well as for messages.
//!
//! Marks are raised by what this server has heard of others that are not in the documents yet ([`overlay`](crate::store::receipts::overlay)).
//! A socket has those up to the moment when it joined its room, and each that comes after that as an event. Some of these
//! may have been folded into the documents by the moment of the snapshot: what a history has shown is seen by its marks.

use bson::{RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt;
use handlers::{HistoryMessage, MessageId, Role, RoomId, Status, Time, UserId};
use mongodb::ClientSession;

use super::revisions::revised_after;
use super::sequence_cache::Last;
use crate::model::change::CommittedChange;
use crate::model::message::StoredMessage;
use crate::model::receipts::MinMarks;
use crate::model::room::StoredMember;
use crate::store::{Store, StoreError, codec};

/// How many messages the first frame of a socket holds (docs/protocol.md, First frames).
pub(crate) const HISTORY: usize = 50;

/// How many of a room's newest messages get their marks told one by one (docs/protocol.md, Message status).
pub(crate) const WAITING: usize = 200;

/// How many messages a room may have missed before its sockets are rather sent away to open it anew.
const MISSED: i64 = 1000;

/// A room as it was at `time`.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) time: Timestamp,
    pub(crate) members: Vec<StoredMember>,
    /// The last [`HISTORY`] that are not deleted, newest first.
    pub(crate) messages: Vec<StoredMessage>,
    /// Those before them that someone has still to read, newest first; with all of `messages` at most
    /// [`WAITING`]. Only where they were asked for.
    pub(crate) waiting: Vec<StoredMessage>,
    /// False where the messages could not be read, and both lists are empty for that.
    pub(crate) complete: bool,
}

impl Snapshot {
    /// Between which numbers there may be messages before those of the page that someone has still to read.
    pub(in crate::store) fn before_page(&self) -> Option<(i64, i64)> {
        let oldest = self.messages.last().map_or(0, |message| message.id.get());
        let read = self.members.iter().map(|member| member.marks.read).min().unwrap_or_default();
        (read < oldest - 1 && self.messages.len() == HISTORY).then_some((read, oldest))
    }

    /// All messages after this number that someone has still to read are here.
    pub(crate) fn known_after(&self) -> i64 {
        if !self.complete {
            return i64::MAX;
        }
        let all = self.before_page().is_none() || (1..WAITING - HISTORY).contains(&self.waiting.len());
        let oldest = self.waiting.last().or(self.messages.last()).filter(|_| !all);
        oldest.map_or(0, |message| message.id.get() - 1)
    }

    /// Its messages as clients are shown them, in their order.
    pub(crate) fn shown(&self) -> impl Iterator<Item = HistoryMessage<'_>> {
        let showing = Showing::to(&self.members);
        self.messages.iter().map(move |message| showing.show(message))
    }

    /// The same, on their own.
    pub(crate) fn told(&self) -> Vec<HistoryMessage<'static>> {
        self.shown().map(HistoryMessage::into_owned).collect()
    }

    /// The number that `reader` has read up to once all of this is on its screen; none where that is so already.
    ///
    /// Where reading is said by hand (`by_hand`): the number that was delivered up to.
    pub(crate) fn unread(&self, reader: &UserId, by_hand: bool) -> Option<i64> {
        let marks = self.members.iter().find(|member| member.user == *reader)?.marks;
        let reached = if by_hand { marks.delivered } else { marks.read };
        let newest =
            self.messages.iter().find(|message| message.sender != *reader).map(|message| message.id.get());
        // Where the page is full of the reader's own, older ones by others may still wait.
        let older = || {
            let full = self.messages.len() >= HISTORY;
            self.messages.last().filter(|_| full).map(|message| message.id.get() - 1)
        };
        newest.or_else(older).filter(|n| *n > reached)
    }
}

/// How the members of a room are shown its messages.
pub(crate) struct Showing<'a> {
    members: &'a [StoredMember],
    lowest: Option<MinMarks<&'a UserId>>,
}

impl<'a> Showing<'a> {
    pub(crate) fn to(members: &'a [StoredMember]) -> Self {
        Self { members, lowest: MinMarks::of(members.iter().map(|member| (&member.user, member.marks))) }
    }

    /// A message as they are shown it.
    pub(crate) fn show(&self, message: &'a StoredMessage) -> HistoryMessage<'a> {
        let sender = self.members.iter().find(|member| member.user == message.sender);
        let status = |lowest: &MinMarks<&UserId>| lowest.status(&message.sender, message.id);
        HistoryMessage {
            message_id: message.id,
            text: message.text.as_str().into(),
            sender_id: message.sender.clone(),
            sender_email: sender.and_then(|member| member.email.as_deref()).map(Into::into),
            status: self.lowest.as_ref().map_or(Status::Send, status),
            created_at: message.created_at,
            updated_at: message.updated_at,
        }
    }
}

/// After everything.
pub(in crate::store) const LATEST: Timestamp = Timestamp { time: u32::MAX, increment: u32::MAX };

impl Store {
    /// The members of a room, and the cluster time that the session's further reads are of. Their marks are of that time,
    /// too: for whoever is told of no later ones.
    pub(crate) async fn members(&self, room: RoomId) -> Result<(View, Vec<StoredMember>), StoreError> {
        let (view, mut members) = self.members_unraised(room).await?;
        let known = self.caught_up(view.time).await;
        self.overlay.raise(room, known, &mut members);
        Ok((view, members))
    }

    /// The same, but that their marks are those that were raised up to a moment that the change stream has come to, at
    /// least: for a socket that is told of all that come after it.
    pub(crate) async fn members_marked(
        &self,
        room: RoomId,
        until: Timestamp,
    ) -> Result<(View, Vec<StoredMember>), StoreError> {
        let (view, mut members) = self.members_unraised(room).await?;
        self.overlay.raise(room, until, &mut members);
        Ok((view, members))
    }

    /// The same, with all marks that are known here by now.
    pub(crate) async fn members_known(&self, room: RoomId) -> Result<(View, Vec<StoredMember>), StoreError> {
        self.members_marked(room, LATEST).await
    }

    async fn members_unraised(&self, room: RoomId) -> Result<(View, Vec<StoredMember>), StoreError> {
        let store = self.clone();
        self.bounded(async move {
            let mut session = store.client.start_session().snapshot(true).await?;
            let filter = doc! { "_id": codec::of_room(room, "user") };
            let mut cursor = store.members.find(filter).session(&mut session).await?;
            let documents: Vec<RawDocumentBuf> = cursor.stream(&mut session).try_collect().await?;
            let members =
                documents.iter().map(|document| codec::read_member(document)).collect::<Result<_, _>>()?;
            let time = session.snapshot_time().ok_or_else(|| StoreError::Fault("no cluster time".into()))?;
            Ok((View { session, time }, members))
        })
        .await
    }

    /// The messages that go with `members`, of the same moment. `waiting`: also what someone has still to read.
    pub(crate) async fn snapshot(
        &self,
        room: RoomId,
        view: View,
        members: Vec<StoredMember>,
        waiting: bool,
    ) -> Result<Snapshot, StoreError> {
        let store = self.clone();
        self.bounded(async move {
            let mut view = view;
            store.read_snapshot(&mut view, room, members, waiting).await
        })
        .await
    }

    pub(in crate::store) async fn read_snapshot(
        &self,
        view: &mut View,
        room: RoomId,
        members: Vec<StoredMember>,
        waiting: bool,
    ) -> Result<Snapshot, StoreError> {
        let View { session, time } = view;
        let messages = self.page(session, room, 0, i64::MAX, HISTORY).await?;
        let mut snapshot = Snapshot { time: *time, members, messages, waiting: Vec::new(), complete: true };
        if waiting && let Some((read, oldest)) = snapshot.before_page() {
            snapshot.waiting = self.page(session, room, read, oldest, WAITING - HISTORY).await?;
        }
        Ok(snapshot)
    }

    /// Up to `limit` messages that are not deleted, with numbers above `after` and below `before`, newest first.
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

    /// A room as it is now, and what changed in it after message `told` and since `since`, oldest first; none
    /// where that is more than [`MISSED`]. By the database's own stamps: the servers' clocks may differ.
    pub(crate) async fn missed(
        &self,
        room: RoomId,
        told: i64,
        since: Timestamp,
    ) -> Result<Option<(Snapshot, Vec<CommittedChange>)>, StoreError> {
        let (view, members) = self.members_known(room).await?;
        let View { mut session, time } = view;
        let store = self.clone();
        self.bounded(async move {
            let most = usize::try_from(MISSED).unwrap_or(usize::MAX);
            // Each by an index of its own, and no further than to where it was told: a room may be of millions.
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
            // In their order, for whoever is cut off in between resumes after the last of them that was told.
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

    /// The role of a user in a room; none where it is not a member.
    pub(crate) async fn role(&self, room: RoomId, user: &UserId) -> Result<Option<Role>, StoreError> {
        Ok(self.member(room, user).await?.map(|member| member.role))
    }

    /// A user in a room; none where it is not a member.
    pub(crate) async fn member(
        &self,
        room: RoomId,
        user: &UserId,
    ) -> Result<Option<StoredMember>, StoreError> {
        let members = self.members.clone();
        let filter = doc! { "_id": { "room": room.get(), "user": codec::user_bson(user) } };
        let member = self.bounded(async move { Ok(members.find_one(filter).await?) }).await?;
        Ok(member.map(|member| codec::read_member(&member)).transpose()?)
    }

    /// The greatest number that a room has given out, as a majority has it, and its message's time; 0 in an empty room.
    pub(crate) async fn last_number(&self, room: RoomId) -> Result<Last, StoreError> {
        let messages = self.messages.clone();
        let filter = doc! { "_id": codec::of_room(room, "n") };
        let last = self
            .bounded(async move {
                let find = messages.find_one(filter).sort(doc! { "_id": -1 });
                let find = find.projection(doc! { "_id": 1, "created_at": 1 });
                Ok(find.read_concern(mongodb::options::ReadConcern::majority()).await?)
            })
            .await?;
        let Some(last) = last else {
            return Ok(Last { n: self.given_out(room).await?, ..Last::default() });
        };
        let id = last.get_document("_id").map_err(codec::Undecodable::from)?;
        let n = codec::read_message_id(id)?.1.get();
        // A message that somebody wrote by hand may lack it.
        let at = codec::read_time(&last, "created_at").unwrap_or(Last::default().at);
        Ok(Last { n, at })
    }

    /// When a message was written; none where it isn't there.
    pub(in crate::store) async fn sent_at(
        &self,
        room: RoomId,
        id: MessageId,
    ) -> Result<Option<Time>, StoreError> {
        let messages = self.messages.clone();
        let filter = doc! { "_id": codec::message_id(room, id) };
        let find = async move { Ok(messages.find_one(filter).projection(doc! { "created_at": 1 }).await?) };
        let found = self.bounded(find).await?;
        Ok(found.map(|message| codec::read_time(&message, "created_at")).transpose()?)
    }
}

/// One moment of the database, for reads that belong together.
pub(crate) struct View {
    pub(in crate::store) session: ClientSession,
    pub(in crate::store) time: Timestamp,
}

impl View {
    /// The moment's cluster time.
    pub(crate) fn time(&self) -> Timestamp {
        self.time
    }
}
