//! Who is connected where: a document for each user who ever was, with the servers that have sockets of theirs.
//!
//! | `_id` | the user |
//! |---|---|
//! | `servers` | the servers, by the `_id` of their heartbeat, on which the user has a socket |
//! | `online` | whether there are any; a change of this, and of nothing else, is a coming or a going |
//! | `last_seen` | when the last socket of a server was closed; while `online` it says nothing |
//!
//! In the change stream a coming is an insert, or an update that sets `online`. A going may also stand there as a
//! replacement: of an update by a pipeline the database writes whichever is shorter. A replacement that shows the user
//! online is the going of one server of several, and no news.
//!
//! Each write is one update of one document and can be repeated without harm, so that no two servers ever have to
//! agree on anything, and a batch of unknown outcome is simply written again.

use std::collections::HashMap;
use std::time::Instant;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, RawArrayBuf, RawDocument, RawDocumentBuf, doc, rawdoc};
use futures_util::TryStreamExt;
use handlers::{Time, UserId};

use crate::store::codec::{self, Undecodable};
use crate::store::{Store, StoreError};

/// Whether a user can be reached, on whatever server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Whether there is a socket of theirs anywhere; true within 5 s, also after a server died.
    pub online: bool,
    /// When the last one was closed; none while they are online, and where they never were.
    pub last_seen: Option<Time>,
}

impl Presence {
    const NEVER: Self = Self { online: false, last_seen: None };

    pub(crate) fn read(document: &RawDocument) -> Result<Self, Undecodable> {
        let online = document.get_bool("online")?;
        let seen = !online && document.get("last_seen")?.is_some();
        let last_seen = if seen { Some(codec::read_time(document, "last_seen")?) } else { None };
        Ok(Self { online, last_seen })
    }
}

/// A server, as its heartbeat shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat {
    pub(crate) server: ObjectId,
    pub(crate) number: i64,
    pub(crate) at: DateTime,
    /// Another server took it for dead, and tidies up after it.
    pub(crate) dead: bool,
}

impl Store {
    /// Whether a user is online, on any server, and else since when not.
    ///
    /// # Errors
    /// As any read's.
    pub async fn presence(&self, user: &UserId) -> Result<Presence, StoreError> {
        let found = self.presences(std::slice::from_ref(user)).await?;
        Ok(found.get(user).copied().unwrap_or(Presence::NEVER))
    }

    /// The same of several; whoever never was online is not among them.
    pub(crate) async fn presences(&self, users: &[UserId]) -> Result<HashMap<UserId, Presence>, StoreError> {
        let presence = self.db.collection::<RawDocumentBuf>("presence");
        let users: Vec<Bson> = users.iter().map(codec::user_bson).collect();
        let find = async move {
            let found = presence.find(doc! { "_id": { "$in": users } }).await?;
            Ok(found.try_collect::<Vec<_>>().await?)
        };
        let documents = self.bounded(find).await?;
        let read = |document: &RawDocumentBuf| Ok((read_id(document)?, Presence::read(document)?));
        Ok(documents.iter().map(read).collect::<Result<_, Undecodable>>()?)
    }

    /// These users have sockets on this server.
    pub(crate) async fn arrived(&self, server: ObjectId, users: &[UserId]) -> Result<(), StoreError> {
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

    /// These users have no socket on this server any more, since the times that stand beside them.
    pub(crate) async fn left(&self, server: ObjectId, users: &[(UserId, Instant)]) -> Result<(), StoreError> {
        let mut statements = RawArrayBuf::new();
        for (user, at) in users {
            // By the database's clock.
            let ago = i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX);
            let seen = doc! { "$subtract": ["$$NOW", ago] };
            // Written a second time it changes nothing, so nobody is told a second time.
            let here = doc! { "_id": codec::user_bson(user), "servers": server };
            let statement = doc! { "q": here, "u": without(server, seen) };
            let statement = RawDocumentBuf::try_from(&statement).map_err(Undecodable::from)?;
            statements.push(statement);
        }
        self.update_each("presence", statements).await
    }

    /// The heartbeat of each server.
    pub(crate) async fn beats(&self) -> Result<Vec<Beat>, StoreError> {
        let heartbeats = self.db.collection::<RawDocumentBuf>("heartbeats");
        let find = async move { Ok(heartbeats.find(doc! {}).await?.try_collect::<Vec<_>>().await?) };
        let documents = self.bounded(find).await?;
        Ok(documents.iter().map(|document| read_beat(document)).collect::<Result<_, _>>()?)
    }

    /// Says that a server is dead, unless it has said something since: from now on it is, until it begins anew.
    /// False where it has, or where another server said so first.
    pub(crate) async fn declare_dead(&self, beat: Beat) -> Result<bool, StoreError> {
        let heartbeats = self.db.collection::<Document>("heartbeats");
        let filter = doc! { "_id": beat.server, "beat": beat.number, "dead": { "$ne": true } };
        let update = doc! { "$set": { "dead": true } };
        let declared = async move { Ok(heartbeats.update_one(filter, update).await?.matched_count == 1) };
        self.bounded(declared).await
    }

    /// Says so of a server that has no heartbeat left, though users are noted as connected to it.
    pub(crate) async fn declare_orphans(&self) -> Result<(), StoreError> {
        let presence = self.db.collection::<Document>("presence");
        let heartbeats = self.db.collection::<Document>("heartbeats");
        let now = DateTime::from_millis(self.now().0);
        self.bounded(async move {
            for server in presence.distinct("servers", doc! { "online": true }).await? {
                let dead = doc! { "$setOnInsert": { "beat": 0_i64, "at": now, "dead": true } };
                heartbeats.update_one(doc! { "_id": server }, dead).upsert(true).await?;
            }
            Ok(())
        })
        .await
    }

    /// Takes a dead server's sockets from all who had any; then its heartbeat is no longer kept. By any server, and
    /// by several at once.
    pub(crate) async fn bury(&self, dead: Beat) -> Result<u64, StoreError> {
        let presence = self.db.collection::<Document>("presence");
        let heartbeats = self.db.collection::<Document>("heartbeats");
        let Beat { server, at, .. } = dead;
        self.bounded(async move {
            let filter = doc! { "servers": server, "online": true };
            let tidied = presence.update_many(filter, without(server, at)).await?;
            heartbeats.delete_one(doc! { "_id": server, "dead": true }).await?;
            Ok(tidied.modified_count)
        })
        .await
    }
}

/// What is left of a user's presence without this server, by a pipeline: all of it in one update.
fn without(server: ObjectId, seen: impl Into<Bson>) -> Vec<Document> {
    let others = doc! { "$filter": { "input": "$servers", "cond": { "$ne": ["$$this", server] } } };
    vec![
        doc! { "$set": { "servers": others, "last_seen": { "$max": ["$last_seen", seen.into()] } } },
        doc! { "$set": { "online": { "$ne": ["$servers", []] } } },
    ]
}

/// What an update says: whether a user came or went; none where it is neither.
pub(crate) fn read_update(fields: &RawDocument) -> Result<Option<Presence>, Undecodable> {
    if fields.get("online")?.is_none() {
        return Ok(None);
    }
    Ok(Some(Presence::read(fields)?))
}

/// The user whose presence a document is.
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
