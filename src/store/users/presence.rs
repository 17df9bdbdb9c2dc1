//! Presence: whether users are online, and on which servers. There is one document for each user who was ever online.
//!
//! | field | meaning |
//! |---|---|
//! | `_id` | the user |
//! | `servers` | the servers on which the user has a socket, by the `_id` of their heartbeat |
//! | `online` | whether `servers` has entries; a change of this value means that the user came online or went offline |
//! | `last_seen` | when the user's last socket on a server was closed; without meaning while `online` is true |
//!
//! When a user comes online, the change stream shows an insert, or an update that sets `online` to true. When a user
//! goes offline, the change stream shows an update that sets `online` to false, or a replacement of the document. The
//! reason for the two forms is that Parlor removes a server from `servers` by an update with a pipeline. The database
//! reports an update with a pipeline in the shorter of the two forms. A replacement with `online: true` means that the
//! user's last socket on one server was closed. The user still has a socket on another server. Readers of the change
//! stream ignore a replacement with `online: true`.
//!
//! Each write updates one document, and a repeated write has the same effect as a single write. Therefore a server can
//! repeat a batch whose outcome is unknown, and the servers need no coordination.

use std::collections::HashMap;
use std::time::Instant;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, RawArrayBuf, RawDocument, RawDocumentBuf, doc, rawdoc};
use futures_util::TryStreamExt;
use handlers::{Time, UserId};

use crate::store::codec::{self, Undecodable};
use crate::store::{Store, StoreError};

/// Whether a user is online on any server, and otherwise when the user was last online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserPresence {
    /// Whether the user has a socket on any server. After a user comes online or goes offline, this value is correct
    /// within 5 s, even if a server died.
    pub online: bool,
    /// When the user's last socket was closed. None while the user is online, and for a user who was never online.
    pub last_seen: Option<Time>,
}

impl UserPresence {
    const NEVER: Self = Self { online: false, last_seen: None };

    pub(crate) fn read(document: &RawDocument) -> Result<Self, Undecodable> {
        let online = document.get_bool("online")?;
        let seen = !online && document.get("last_seen")?.is_some();
        let last_seen = if seen { Some(codec::read_time(document, "last_seen")?) } else { None };
        Ok(Self { online, last_seen })
    }
}

/// The heartbeat of a server: a document that the server updates regularly while it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat {
    pub(crate) server: ObjectId,
    pub(crate) number: i64,
    pub(crate) at: DateTime,
    /// Whether another server has declared this server dead. In this case the dead server is being removed from the
    /// users' presences.
    pub(crate) dead: bool,
}

impl Store {
    /// Returns whether a user is online on any server, and otherwise when the user's last socket was closed.
    ///
    /// # Errors
    /// Fails if the database can't be read, or did not answer within `mongodb.operation_ms`.
    pub async fn presence(&self, user: &UserId) -> Result<UserPresence, StoreError> {
        let found = self.presences(std::slice::from_ref(user)).await?;
        Ok(found.get(user).copied().unwrap_or(UserPresence::NEVER))
    }

    /// Returns the presence of each of these users. Users who were never online are left out.
    pub(crate) async fn presences(
        &self,
        users: &[UserId],
    ) -> Result<HashMap<UserId, UserPresence>, StoreError> {
        let presence = self.db.collection::<RawDocumentBuf>("presence");
        let users: Vec<Bson> = users.iter().map(codec::user_bson).collect();
        let find = async move {
            let found = presence.find(doc! { "_id": { "$in": users } }).await?;
            Ok(found.try_collect::<Vec<_>>().await?)
        };
        let documents = self.run_detached(find).await?;
        let read = |document: &RawDocumentBuf| Ok((read_id(document)?, UserPresence::read(document)?));
        Ok(documents.iter().map(read).collect::<Result<_, Undecodable>>()?)
    }

    /// Records that each of these users has at least one socket on this server.
    pub(crate) async fn record_online(&self, server: ObjectId, users: &[UserId]) -> Result<(), StoreError> {
        let mut statements = RawArrayBuf::new();
        for user in users {
            statements.push(rawdoc! {
                "q": { "_id": codec::user(user) },
                "u": { "$addToSet": { "servers": server }, "$set": { "online": true } },
                "upsert": true,
            });
        }
        self.update_each("presence", statements).await
    }

    /// Records that these users have no socket on this server any more. The instant beside each user is the time when
    /// the user's last socket was closed.
    pub(crate) async fn record_offline(
        &self,
        server: ObjectId,
        users: &[(UserId, Instant)],
    ) -> Result<(), StoreError> {
        let mut statements = RawArrayBuf::new();
        for (user, at) in users {
            // The local instant is converted into a time of the database's clock (`$$NOW`).
            let ago = i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX);
            let seen = doc! { "$subtract": ["$$NOW", ago] };
            // The filter requires that `servers` contains this server. The first write removes the server from
            // `servers`. Therefore a repeated write changes nothing, and no client is notified twice.
            let here = doc! { "_id": codec::user_bson(user), "servers": server };
            let statement = doc! { "q": here, "u": without(server, seen) };
            let statement = RawDocumentBuf::try_from(&statement).map_err(Undecodable::from)?;
            statements.push(statement);
        }
        self.update_each("presence", statements).await
    }

    /// Returns the heartbeats of all servers.
    pub(crate) async fn beats(&self) -> Result<Vec<Beat>, StoreError> {
        let heartbeats = self.db.collection::<RawDocumentBuf>("heartbeats");
        let find = async move { Ok(heartbeats.find(doc! {}).await?.try_collect::<Vec<_>>().await?) };
        let documents = self.run_detached(find).await?;
        Ok(documents.iter().map(|document| read_beat(document)).collect::<Result<_, _>>()?)
    }

    /// Declares a server dead if it has sent no heartbeat since `beat`. The server counts as dead until
    /// [`bury`](Self::bury) has deleted the heartbeat document and the server writes a new one. Returns false if the
    /// server sent a heartbeat, or if another server declared it dead first.
    pub(crate) async fn declare_dead(&self, beat: Beat) -> Result<bool, StoreError> {
        let heartbeats = self.db.collection::<Document>("heartbeats");
        let filter = doc! { "_id": beat.server, "beat": beat.number, "dead": { "$ne": true } };
        let update = doc! { "$set": { "dead": true } };
        let declared = async move { Ok(heartbeats.update_one(filter, update).await?.matched_count == 1) };
        self.run_detached(declared).await
    }

    /// Declares servers dead that have no heartbeat document although a user's presence names them. Creates a heartbeat
    /// document for each of these servers, marked as dead. Then [`bury`](Self::bury) removes the server from the
    /// presences.
    pub(crate) async fn declare_orphans(&self) -> Result<(), StoreError> {
        let presence = self.db.collection::<Document>("presence");
        let heartbeats = self.db.collection::<Document>("heartbeats");
        let now = DateTime::from_millis(self.now().0);
        self.run_detached(async move {
            for server in presence.distinct("servers", doc! { "online": true }).await? {
                let dead = doc! { "$setOnInsert": { "beat": 0_i64, "at": now, "dead": true } };
                heartbeats.update_one(doc! { "_id": server }, dead).upsert(true).await?;
            }
            Ok(())
        })
        .await
    }

    /// Removes a dead server from the presences of all users, and then deletes its heartbeat. Returns the number of
    /// changed presences. Several servers may call this function concurrently for the same dead server.
    pub(crate) async fn bury(&self, dead: Beat) -> Result<u64, StoreError> {
        let presence = self.db.collection::<Document>("presence");
        let heartbeats = self.db.collection::<Document>("heartbeats");
        let Beat { server, at, .. } = dead;
        self.run_detached(async move {
            let filter = doc! { "servers": server, "online": true };
            let tidied = presence.update_many(filter, without(server, at)).await?;
            heartbeats.delete_one(doc! { "_id": server, "dead": true }).await?;
            Ok(tidied.modified_count)
        })
        .await
    }
}

/// Returns the pipeline of an update that removes a server from a user's presence. `seen` is the time for `last_seen`.
fn without(server: ObjectId, seen: impl Into<Bson>) -> Vec<Document> {
    let others = doc! { "$filter": { "input": "$servers", "cond": { "$ne": ["$$this", server] } } };
    vec![
        doc! { "$set": { "servers": others, "last_seen": { "$max": ["$last_seen", seen.into()] } } },
        doc! { "$set": { "online": { "$ne": ["$servers", []] } } },
    ]
}

/// Reads from the fields that an update has set whether a user came online or went offline. None if the update does not
/// set `online`.
pub(crate) fn read_update(fields: &RawDocument) -> Result<Option<UserPresence>, Undecodable> {
    if fields.get("online")?.is_none() {
        return Ok(None);
    }
    Ok(Some(UserPresence::read(fields)?))
}

/// Returns the user of a presence document.
pub(crate) fn read_id(document: &RawDocument) -> Result<UserId, Undecodable> {
    codec::read_user(document.get("_id")?.unwrap_or(bson::RawBsonRef::Null))
}

fn read_beat(document: &RawDocument) -> Result<Beat, Undecodable> {
    Ok(Beat {
        server: document.get_object_id("_id")?,
        number: codec::read_int_if_any(document, "beat")?.unwrap_or_default(),
        at: document.get_datetime("at")?,
        dead: matches!(document.get("dead")?, Some(bson::RawBsonRef::Boolean(true))),
    })
}
