//! Reads the database's state at a cluster time of a few seconds ago. The cluster time is MongoDB's logical clock: each
//! commit has a cluster time. An event of the change stream contains the cluster time of its change. Therefore these
//! reads can return the state right after a change, or just before the change.
//!
//! The database keeps the history for these reads for five minutes (`minSnapshotHistoryWindowInSeconds`). The driver
//! has no option for the cluster time of a read, so these reads are sent as raw commands.

use std::time::Instant;

use bson::{Bson, DateTime, Document, RawDocumentBuf, Timestamp, doc};
use handlers::{RoomId, Time, UserId};
use mongodb::error::Error;

use super::codec::{self, Undecodable};
use super::messages::revisions::revised_after;
use super::messages::snapshot::{HISTORY, Snapshot, WAITING};
use super::receipts::journal;
use super::receipts::unread::{self, ManyDeleted};
use super::{Store, StoreError};
use crate::model::message::StoredMessage;
use crate::model::room::StoredMember;

/// A member's number of unread messages and the member's read marker, at one cluster time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnreadCount {
    pub(crate) unread: i64,
    pub(crate) read: i64,
}

impl Store {
    /// Returns the time of the database's clock. Asks the database, and does not use the estimate.
    pub(crate) async fn clock(&self) -> Result<DateTime, StoreError> {
        let admin = self.client.database("admin");
        let hello =
            self.run_detached(async move { Ok(admin.run_command(doc! { "hello": 1 }).await?) }).await?;
        Ok(*hello.get_datetime("localTime").map_err(|error| StoreError::Fault(Box::new(error)))?)
    }

    /// Asks the database for its time, and updates the estimate of the database's clock
    /// ([`database_clock`](super::database_clock)). Before the first heartbeat comes back, the estimate would otherwise
    /// be this server's own time.
    pub(crate) async fn read_clock(&self) -> Result<(), StoreError> {
        let sent = Instant::now();
        let time = self.clock().await?;
        self.database_clock.read(Time(time.timestamp_millis()), sent, Instant::now());
        Ok(())
    }

    /// Returns a cluster time that is not earlier than any majority-committed write at the time of this call.
    pub(crate) async fn moment(&self) -> Result<Timestamp, StoreError> {
        let store = self.clone();
        self.run_detached(async move {
            let mut session = store.client.start_session().snapshot(true).await?;
            let heartbeats = store.db.collection::<RawDocumentBuf>("heartbeats");
            heartbeats.find_one(doc! {}).session(&mut session).await?;
            session
                .snapshot_time()
                .ok_or_else(|| StoreError::Fault("the database returned no cluster time".into()))
        })
        .await
    }

    /// Returns a room at a cluster time that the change stream has reached. The snapshot includes the messages that at
    /// least one member had not read at that time.
    pub(crate) async fn snapshot_at(&self, room: RoomId, at: Timestamp) -> Result<Snapshot, StoreError> {
        let store = self.clone();
        self.run_detached(async move {
            let members = doc! { "_id": codec::of_room(room, "user") };
            let members = store.find_at(at, doc! { "find": "members", "filter": members }).await?;
            let members = members.iter().map(|member| codec::read_member(member));
            let mut members = members.collect::<Result<Vec<StoredMember>, Undecodable>>()?;
            store.overlay.raise(room, at, &mut members);
            let messages = store.page_at(room, at, 0, i64::MAX, HISTORY).await?;
            let time = at;
            let mut snapshot = Snapshot { time, members, messages, waiting: Vec::new(), complete: true };
            if let Some((read, oldest)) = snapshot.before_page() {
                snapshot.waiting = store.page_at(room, at, read, oldest, WAITING - HISTORY).await?;
            }
            Ok(snapshot)
        })
        .await
    }

    /// Returns the number of a member's unread messages at a cluster time that the change stream has reached. Returns
    /// none if the user was not a member at that time.
    pub(crate) async fn unread_at(
        &self,
        room: RoomId,
        user: &UserId,
        at: Timestamp,
    ) -> Result<Option<UnreadCount>, StoreError> {
        let (store, user) = (self.clone(), user.clone());
        let own = self.overlay.of_user(&user, [room], at);
        self.run_detached(async move {
            let mut stages = vec![
                doc! { "$match": { "_id": codec::member_id(room, &user) } },
                doc! { "$project": { "_id": 0, "room": "$_id.room", "read": 1 } },
            ];
            stages.extend(journal::raised_read(&own));
            stages.extend(unread::stages(&user));
            let count = doc! { "aggregate": "members", "pipeline": stages, "cursor": {} };
            let found = store.command_at(at, count).await?;
            let Some(member) = found.first() else { return Ok(None) };
            let known = UnreadCount { unread: unread::read(member)?, read: codec::read_int(member, "read")? };
            let Some(ManyDeleted { read, others, .. }) = unread::read_many(member)? else {
                return Ok(Some(known));
            };
            let deleted = store.deleted_at(room, &user, read, at).await?;
            Ok(Some(UnreadCount { unread: (others - deleted).max(0), ..known }))
        })
        .await
    }

    /// Returns how many messages of users other than `user`, with numbers above `read`, were deleted at the cluster
    /// time `at`.
    async fn deleted_at(
        &self,
        room: RoomId,
        user: &UserId,
        read: i64,
        at: Timestamp,
    ) -> Result<i64, StoreError> {
        let (filter, order) = (revised_after(room, 0), doc! { "rev": -1 });
        let last = doc! { "find": "messages", "filter": filter, "sort": order, "limit": 1, "projection": { "rev": 1 } };
        let last = self.find_at(at, last).await?;
        let revision = last.first().map(|last| codec::read_int(last, "rev")).transpose()?;
        if let Some(deleted) = self.deleted_after(room, user, read, revision.unwrap_or_default()).await? {
            return Ok(deleted);
        }
        let stages = unread::count_deleted(room, user, read);
        let found =
            self.command_at(at, doc! { "aggregate": "messages", "pipeline": stages, "cursor": {} }).await?;
        Ok(unread::deleted(found.first().map(|found| &**found))?)
    }

    async fn page_at(
        &self,
        room: RoomId,
        at: Timestamp,
        after: i64,
        before: i64,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let filter = codec::alive(room, doc! { "$gt": after, "$lt": before });
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let order = codec::by_number(-1);
        let find = doc! { "find": "messages", "filter": filter, "sort": order, "limit": limit };
        let found = self.find_at(at, find).await?;
        let messages = found.iter().filter_map(|document| codec::read_message(document).transpose());
        Ok(messages.collect::<Result<_, _>>()?)
    }

    /// Returns the documents that a `find` command finds at the cluster time `at`. The documents must fit into one
    /// reply of the database.
    async fn find_at(&self, at: Timestamp, mut find: Document) -> Result<Vec<RawDocumentBuf>, StoreError> {
        find.insert("singleBatch", true);
        find.insert("batchSize", i32::MAX);
        self.command_at(at, find).await
    }

    async fn command_at(
        &self,
        at: Timestamp,
        mut command: Document,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        command.insert("readConcern", doc! { "level": "snapshot", "atClusterTime": at });
        let answer = self.db.run_command(command).await?;
        let batch = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        let batch = batch.map_err(Error::custom)?;
        let raw = |item: &Bson| {
            let document =
                item.as_document().ok_or_else(|| Undecodable::new("an item of a batch is not a document"))?;
            RawDocumentBuf::try_from(document).map_err(Undecodable::from)
        };
        Ok(batch.iter().map(raw).collect::<Result<_, Undecodable>>()?)
    }
}
