//! Idempotent requests of the HTTP API: a client may send a request several times with the same `Idempotency-Key`, and
//! Parlor applies the request once. Each `Idempotency-Key` has a record in the database, which expires some time after
//! the first attempt. The record contains a hash of the request. After the request was processed, the record also
//! contains the response.
//!
//! An attempt that processes a request holds a lease on the record: until a time in the record, no other attempt may
//! process the request. If the lease ends without a response, the server died or the database was unavailable, and the
//! outcome of the attempt is unknown. The next attempt takes over the record. The record contains the id of the first
//! attempt's write (`write_id`), so the next attempt can find this write. All times come from the database's clock. If
//! two servers used their own clocks, a lease could have ended on one server and still run on the other server.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Binary, Bson, DateTime, Document, RawDocumentBuf, doc, spec::BinarySubtype};
use handlers::{ClientId, RoomId, Text, UserId};
use mongodb::Collection;
use mongodb::options::ReadConcern;

use super::rooms::create::is_duplicate;
use super::{Store, StoreError, codec, from_now};
use crate::model::message::StoredMessage;

/// The maximum number of tries to claim a request. A try fails if the request's record exists when [`Store::claim`]
/// tries to insert a new one, but expires before `claim` reads it.
const TRIES: usize = 3;

/// An idempotency key, together with the service that sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestKey {
    /// A hash of the service key. The hash identifies the service key without revealing it.
    pub(crate) service: [u8; 16],
    /// The value of the header `Idempotency-Key`, unchanged.
    pub(crate) key: String,
}

/// An attempt to process a request. The owner of this value holds the lease on the request's record.
#[derive(Clone, Debug)]
pub(crate) struct RequestAttempt {
    id: Document,
    /// The id of the one write that the request causes.
    pub(crate) write_id: ObjectId,
    /// Whether an earlier attempt held the lease.
    pub(crate) is_another: bool,
}

impl RequestAttempt {
    /// Returns the `client_id` of the request's message. All attempts use the same `client_id`, so the unique index
    /// lets only one attempt write the message. The returned id is longer than any `client_id` that a client can send.
    /// Therefore it never equals the `client_id` of a client.
    pub(crate) fn client_id(&self) -> String {
        let id = format!("request {}", self.write_id);
        format!("{id:.>width$}", width = ClientId::MAX_CHARS + 1)
    }
}

/// The stored response to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredResponse {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// The result of claiming a request.
#[derive(Debug)]
pub(crate) enum Claim {
    /// The caller now holds the lease and must process the request.
    Do(RequestAttempt),
    /// The request was already processed, with this response.
    Done(StoredResponse),
    /// Another attempt is processing the request.
    UnderWay,
    /// The key was used for a request with other content.
    Different,
}

impl Store {
    fn requests(&self) -> Collection<Document> {
        self.db.collection("requests")
    }

    /// Claims a request: takes the lease on its record. This succeeds if the request is new, or if the lease of its
    /// last attempt has ended. `content` is a hash of the request. `lease` is the time limit for processing the
    /// request. `kept` is the lifetime of the record.
    pub(crate) async fn claim(
        &self,
        key: &RequestKey,
        content: [u8; 32],
        lease: Duration,
        kept: Duration,
    ) -> Result<Claim, StoreError> {
        let id = doc! { "service": binary(&key.service), "key": &key.key };
        for _ in 0..TRIES {
            if let Some(attempt) = self.claim_new(&id, content, lease, kept).await? {
                return Ok(Claim::Do(attempt));
            }
            let requests = self.requests();
            let filter = doc! { "_id": id.clone() };
            let found = self.run_detached(async move { Ok(requests.find_one(filter).await?) }).await?;
            // The record existed at the insert, but has expired since.
            let Some(found) = found else { continue };
            if found.get("content") != Some(&binary(&content)) {
                return Ok(Claim::Different);
            }
            if let Some(kept) = read_answer(&found) {
                return Ok(Claim::Done(kept));
            }
            return self.take_over(id, &found, lease).await;
        }
        Err(StoreError::Fault("a request's record was created and expired repeatedly".into()))
    }

    async fn claim_new(
        &self,
        id: &Document,
        content: [u8; 32],
        lease: Duration,
        kept: Duration,
    ) -> Result<Option<RequestAttempt>, StoreError> {
        let write_id = ObjectId::new();
        // This filter matches no document, so the upsert always tries to insert a record. If the key already has a
        // record, the insert fails with a duplicate key error.
        let none = doc! { "_id": id.clone(), "is_none": true };
        let record = doc! { "$replaceWith": {
            "_id": { "$literal": id.clone() },
            "content": binary(&content),
            "write_id": write_id,
            "at": "$$NOW",
            "until": from_now(lease),
            "expires_at": from_now(kept),
        } };
        let requests = self.requests();
        let insert = async move { Ok(requests.update_one(none, vec![record]).upsert(true).await) };
        let inserted = self.run_detached(insert).await?;
        match inserted {
            Ok(_) => Ok(Some(RequestAttempt { id: id.clone(), write_id, is_another: false })),
            Err(error) if is_duplicate(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Claims a record whose lease has ended. If several callers claim the record concurrently, only one of them
    /// succeeds.
    async fn take_over(&self, id: Document, found: &Document, lease: Duration) -> Result<Claim, StoreError> {
        let fault = || StoreError::Fault("could not decode a request's record".into());
        let until = *found.get_datetime("until").map_err(|_| fault())?;
        let write_id = found.get_object_id("write_id").map_err(|_| fault())?;
        let over = doc! { "$lte": ["$until", "$$NOW"] };
        let filter = doc! { "_id": id.clone(), "until": until, "$expr": over };
        let update = vec![doc! { "$set": { "until": from_now(lease) } }];
        let requests = self.requests();
        let taken = self
            .run_detached(async move { Ok(requests.update_one(filter, update).await?.matched_count) })
            .await?;
        Ok(match taken {
            0 => Claim::UnderWay,
            _ => Claim::Do(RequestAttempt { id, write_id, is_another: true }),
        })
    }

    /// Stores the response to a request. `about` lists the users that the response names. If one of these users is
    /// erased, the record is deleted.
    pub(crate) async fn keep_answer(
        &self,
        attempt: &RequestAttempt,
        kept: &StoredResponse,
        about: &[UserId],
    ) -> Result<(), StoreError> {
        let about: Vec<_> = about.iter().map(codec::user_bson).collect();
        let answer = doc! { "status": i32::from(kept.status), "body": &kept.body };
        let update = doc! { "$set": { "answer": answer, "about": about }, "$unset": { "until": "" } };
        self.update_request(attempt, update).await
    }

    /// Ends the lease, so that another attempt can start immediately. The caller calls this function if the attempt has
    /// no response to store.
    pub(crate) async fn release(&self, attempt: &RequestAttempt) -> Result<(), StoreError> {
        self.update_request(attempt, doc! { "$set": { "until": DateTime::from_millis(0) } }).await
    }

    async fn update_request(&self, attempt: &RequestAttempt, update: Document) -> Result<(), StoreError> {
        let requests = self.requests();
        let filter = doc! { "_id": attempt.id.clone() };
        self.run_detached(async move { Ok(requests.update_one(filter, update).await.map(|_| ())?) }).await
    }

    /// Deletes the record of an attempt that changed nothing. The idempotency key may then be used for any request.
    pub(crate) async fn forget(&self, attempt: &RequestAttempt) -> Result<(), StoreError> {
        let requests = self.requests();
        let filter = doc! { "_id": attempt.id.clone() };
        self.run_detached(async move { Ok(requests.delete_one(filter).await.map(|_| ())?) }).await
    }

    /// Returns the message that an earlier attempt of this request wrote. Returns none if no attempt wrote a message.
    /// If the message was deleted later, this function returns it with the request's text, because the first response
    /// had this text.
    pub(crate) async fn written(
        &self,
        room: RoomId,
        sender: &UserId,
        text: &Text,
        attempt: &RequestAttempt,
    ) -> Result<Option<StoredMessage>, StoreError> {
        if !attempt.is_another {
            return Ok(None);
        }
        let Some((id, _)) = self.of_client_id(room, sender, &attempt.client_id()).await? else {
            return Ok(None);
        };
        let messages = self.messages.clone();
        let filter = doc! { "_id": codec::message_id(room, id) };
        let find = async move { Ok(messages.find_one(filter).read_concern(ReadConcern::majority()).await?) };
        let found = self.run_detached(find).await?;
        let Some(found) = found else { return Ok(None) };
        if let Some(message) = codec::read_message(&found)? {
            return Ok(Some(message));
        }
        let (text, sender) = (text.as_str().to_owned(), sender.clone());
        let created_at = codec::read_time(&found, "created_at")?;
        Ok(Some(StoredMessage { id, sender, text, created_at, updated_at: created_at, write_id: None }))
    }

    /// Returns the room that an attempt of this request created, even if the room was deleted later. Returns none if no
    /// attempt created a room.
    ///
    /// The read has the read concern `linearizable`, because another attempt may be writing the room now. A
    /// linearizable read finds the room only when the write can no longer be rolled back.
    pub(crate) async fn made(&self, attempt: &RequestAttempt) -> Result<Option<RoomId>, StoreError> {
        let rooms = self.db.collection::<RawDocumentBuf>("rooms");
        let filter = doc! { "write_id": attempt.write_id };
        let found = self.run_detached(async move {
            let find = rooms.find_one(filter).projection(doc! { "_id": 1 });
            Ok(find.read_concern(ReadConcern::linearizable()).await?)
        });
        Ok(found.await?.map(|room| codec::read_room_id(&room)).transpose()?)
    }

    /// Deletes the records whose responses concern a user. If a client repeats one of these requests afterwards, Parlor
    /// processes the request again.
    pub(crate) async fn erase_answers(&self, user: &UserId) -> Result<(), StoreError> {
        let requests = self.requests();
        let filter = doc! { "about": codec::user_bson(user) };
        self.run_detached(async move { Ok(requests.delete_many(filter).await.map(|_| ())?) }).await
    }
}

fn read_answer(record: &Document) -> Option<StoredResponse> {
    let answer = record.get_document("answer").ok()?;
    let status = u16::try_from(answer.get_i32("status").ok()?).ok()?;
    Some(StoredResponse { status, body: answer.get_str("body").ok()?.to_owned() })
}

fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() })
}
