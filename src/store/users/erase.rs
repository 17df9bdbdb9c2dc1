//! Removes a user's data from the database, one batch at a time.
//!
//! The request for an erasure is a document. Any server can take the erasure. The server then holds a lease: the server
//! stores a time in the document, and no server takes the erasure before this time by the database's clock. While the
//! server removes data, it extends the lease.
//!
//! A pass removes the user's data in batches. Each batch searches again for documents that name the user. Therefore the
//! progress within a pass is not stored: after an interruption, the next server starts the pass from its beginning. An
//! erased message keeps only its number and its times. Clients receive the erasure of a message as an ordinary
//! deletion.

use std::collections::HashMap;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::{MessageId, RoomId, UserId};
use mongodb::Collection;

use crate::store::messages::revisions::MessageChange;
use crate::store::{Store, StoreError, codec, from_now};

/// The fields of a message that are personal data of its sender.
const PERSONAL: [&str; 4] = ["text", "edit", "sender", "client_id"];

/// An erasure whose lease this server holds.
#[derive(Debug)]
pub(crate) struct Erasure {
    /// The user to erase.
    pub(crate) user: UserId,
    /// Whether the first pass has ended. The first pass removes the data that exists when it runs. Actions that are
    /// running during the pass may add data after the pass. Therefore a second pass follows.
    pub(crate) swept: bool,
    /// Whether a pass after the first has ended, but one more pass had to follow. The next pass is then the last pass,
    /// unless the user is still recorded as online.
    pub(crate) looked: bool,
    asked_at: DateTime,
}

impl Store {
    fn erasures(&self) -> Collection<Document> {
        self.db.collection("erasures")
    }

    /// Requests the erasure of a user.
    pub(crate) async fn want_erasure(&self, user: &UserId) -> Result<(), StoreError> {
        let erasures = self.erasures();
        let filter = doc! { "_id": codec::user_bson(user) };
        let update =
            vec![doc! { "$set": { "asked_at": "$$NOW", "until": "$$NOW", "swept": false, "looked": false } }];
        self.run_detached(
            async move { Ok(erasures.update_one(filter, update).upsert(true).await.map(|_| ())?) },
        )
        .await
    }

    /// Takes an erasure that no server holds: it is new, its lease has ended, or the wait before its next pass has
    /// ended. The new lease lasts for the time `lease`. Returns none if there is no such erasure.
    pub(crate) async fn take_erasure(&self, lease: Duration) -> Result<Option<Erasure>, StoreError> {
        let erasures = self.erasures();
        let filter = doc! { "$expr": { "$lte": ["$until", "$$NOW"] } };
        let update = vec![doc! { "$set": { "until": from_now(lease) } }];
        let taken =
            self.run_detached(async move { Ok(erasures.find_one_and_update(filter, update).await?) }).await?;
        let Some(taken) = taken else { return Ok(None) };
        let fault = || StoreError::Fault("could not decode an erasure".into());
        let taken = RawDocumentBuf::try_from(taken).map_err(|_| fault())?;
        let user = taken.get("_id").ok().flatten().ok_or_else(fault)?;
        Ok(Some(Erasure {
            user: codec::read_user(user)?,
            swept: taken.get_bool("swept").map_err(|_| fault())?,
            looked: taken.get_bool("looked").unwrap_or_default(),
            asked_at: taken.get_datetime("asked_at").map_err(|_| fault())?,
        }))
    }

    /// Extends the lease, which then ends after the time `lease` from now. Returns false only if the erasure was
    /// requested again, or if another server has finished it.
    pub(crate) async fn hold_erasure(&self, erasure: &Erasure, lease: Duration) -> Result<bool, StoreError> {
        let update = doc! { "$set": { "until": from_now(lease) } };
        self.update_erasure(erasure, update).await
    }

    /// Records the end of the first pass. The second pass starts after `linger`. Returns false only if the erasure was
    /// requested again, or if another server has finished it.
    pub(crate) async fn erasure_swept(
        &self,
        erasure: &Erasure,
        linger: Duration,
    ) -> Result<bool, StoreError> {
        let update = doc! { "$set": { "swept": true, "until": from_now(linger) } };
        self.update_erasure(erasure, update).await
    }

    /// Records the end of a pass after the first, if one more pass must follow. The next pass starts after `linger`.
    pub(crate) async fn erasure_looked(&self, erasure: &Erasure, linger: Duration) -> Result<(), StoreError> {
        let update = doc! { "$set": { "looked": true, "until": from_now(linger) } };
        self.update_erasure(erasure, update).await.map(|_| ())
    }

    async fn update_erasure(&self, erasure: &Erasure, update: Document) -> Result<bool, StoreError> {
        let (erasures, filter) = (self.erasures(), erasure.filter());
        self.run_detached(
            async move { Ok(erasures.update_one(filter, vec![update]).await?.matched_count > 0) },
        )
        .await
    }

    /// Deletes a user's presence document, unless the document lists a server on which the user has a socket. A listed
    /// server is removed from the document after the user's last socket on it has closed, or after the server has died.
    /// When no server is left, this update notifies all servers that the user is offline. A deletion would notify no
    /// server. Returns false if the document remains, because it still lists a server.
    pub(crate) async fn erase_presence(&self, user: &UserId) -> Result<bool, StoreError> {
        let presence = self.db.collection::<Document>("presence");
        let user = doc! { "_id": codec::user_bson(user) };
        self.run_detached(async move {
            let mut offline = user.clone();
            offline.insert("online", false);
            presence.delete_many(offline).await?;
            Ok(presence.find_one(user).await?.is_none())
        })
        .await
    }

    /// Removes the ephemeral events that name a user. Otherwise the events would stay until they expire, for up to two
    /// minutes.
    pub(crate) async fn erase_signals(&self, user: &UserId) -> Result<(), StoreError> {
        let signals = self.db.collection::<Document>("signals");
        let user = codec::user_bson(user);
        let filter = doc! { "$or": [{ "typing": &user }, { "disconnect": &user }] };
        self.run_detached(async move { Ok(signals.delete_many(filter).await.map(|_| ())?) }).await
    }

    /// Deletes the document of an erasure, because all data of the user is removed.
    pub(crate) async fn end_erasure(&self, erasure: &Erasure) -> Result<(), StoreError> {
        let (erasures, filter) = (self.erasures(), erasure.filter());
        self.run_detached(async move { Ok(erasures.delete_one(filter).await.map(|_| ())?) }).await
    }

    /// Removes a user from up to `batch` rooms. This also removes the user's e-mail address, role and receipt markers
    /// in these rooms. Returns the number of rooms. Zero means that the user has no membership left.
    pub(crate) async fn erase_memberships(&self, user: &UserId, batch: i64) -> Result<usize, StoreError> {
        let members = self.members.clone();
        let filter = doc! { "_id.user": codec::user_bson(user) };
        self.run_detached(async move {
            let ids = ids(&members, filter, batch).await?;
            if ids.is_empty() {
                return Ok(0);
            }
            let found = ids.len();
            members.delete_many(doc! { "_id": { "$in": ids } }).await?;
            Ok(found)
        })
        .await
    }

    /// Removes the sender and the text from up to `batch` messages of a user, deleted messages included. Returns the
    /// number of changed messages. Zero means that no message names the user any more.
    pub(crate) async fn erase_messages(&self, user: &UserId, batch: i64) -> Result<usize, StoreError> {
        let messages = self.messages.clone();
        let filter = doc! { "sender": codec::user_bson(user) };
        let alive = {
            let (messages, filter) = (messages.clone(), filter.clone());
            self.run_detached(async move { alive(&messages, filter, batch).await }).await?
        };
        // A revision (a numbered edit or delete) of the room changes each message. Therefore resuming clients receive
        // the message as deleted. The update must not be a pipeline: the change stream may report a pipeline's update
        // as a replacement, which does not show the deletion.
        let mut by_room: HashMap<_, Vec<_>> = HashMap::new();
        for (room, id) in alive {
            by_room.entry(room).or_default().push(id);
        }
        let mut revised = 0;
        for (room, ids) in by_room {
            let change = MessageChange { set: doc! { "deleted_at": self.now_in(room) }, unset: &PERSONAL };
            revised += self.revise(room, ids, change, ObjectId::new()).await?;
        }
        if revised > 0 {
            return Ok(usize::try_from(revised).unwrap_or(usize::MAX));
        }
        let now = DateTime::from_millis(self.now().0);
        self.run_detached(async move {
            let ids = ids(&messages, filter.clone(), batch).await?;
            let found = ids.len();
            if found > 0 {
                let gone: Document = PERSONAL.iter().map(|field| ((*field).to_owned(), "".into())).collect();
                // A deleted room may still have messages that are not deleted. These messages are erased without a
                // revision, because the room has no clients to notify.
                let mut left = filter.clone();
                left.insert("_id", doc! { "$in": &ids });
                left.insert("deleted_at", doc! { "$exists": false });
                let update = doc! { "$set": { "deleted_at": now }, "$unset": gone.clone() };
                messages.update_many(left, update).await?;
                let mut deleted = filter;
                deleted.insert("_id", doc! { "$in": ids });
                messages.update_many(deleted, doc! { "$unset": gone }).await?;
            }
            Ok(found)
        })
        .await
    }
}

impl Erasure {
    /// Returns a filter for the document of this erasure. The filter matches nothing if the erasure was requested
    /// again, or if it has ended.
    fn filter(&self) -> Document {
        doc! { "_id": codec::user_bson(&self.user), "asked_at": self.asked_at }
    }
}

async fn ids(
    collection: &Collection<RawDocumentBuf>,
    filter: Document,
    batch: i64,
) -> Result<Vec<Bson>, StoreError> {
    let find = collection.find(filter).projection(doc! { "_id": 1 }).limit(batch);
    let found: Vec<RawDocumentBuf> = find.await?.try_collect().await?;
    let ids = found.iter().map(|document| {
        let id = document.get_document("_id").map_err(codec::Undecodable::from)?;
        Ok(Bson::Document(id.try_into().map_err(codec::Undecodable::from)?))
    });
    ids.collect()
}

/// Returns up to `batch` messages that are not deleted.
async fn alive(
    messages: &Collection<RawDocumentBuf>,
    mut filter: Document,
    batch: i64,
) -> Result<Vec<(RoomId, MessageId)>, StoreError> {
    filter.insert("deleted_at", doc! { "$exists": false });
    let find = messages.find(filter).projection(doc! { "_id": 1 }).limit(batch);
    let found: Vec<RawDocumentBuf> = find.await?.try_collect().await?;
    let read = |document: &RawDocumentBuf| codec::read_message_id(document.get_document("_id")?);
    Ok(found.iter().map(read).collect::<Result<_, codec::Undecodable>>()?)
}
