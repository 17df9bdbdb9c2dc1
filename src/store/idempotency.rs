//! Idempotent requests, which are applied once however often they are sent. Each `Idempotency-Key` has a document with
//! a hash of the request and the response, until it expires.
//!
//! A record without a response is leased to the attempt that does the work. If the lease ends, the outcome is unknown,
//! because the server died or the database was unavailable. The next attempt takes over the record, and with it the id
//! by which a write of the first attempt can be found. All times are the database's: by the clocks of two servers an
//! attempt might be over on one and in progress on the other.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Binary, Bson, DateTime, Document, RawDocumentBuf, doc, spec::BinarySubtype};
use handlers::{ClientId, RoomId, Text, UserId};
use mongodb::Collection;
use mongodb::options::ReadConcern;

use super::rooms::create::is_duplicate;
use super::{Store, StoreError, codec, from_now};
use crate::model::message::StoredMessage;

/// The number of attempts to read a record that expires and is created again meanwhile.
const TRIES: usize = 3;

/// A key and its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestKey {
    /// Identifies the service key without showing it.
    pub(crate) service: [u8; 16],
    /// The header's value, unchanged.
    pub(crate) key: String,
}

/// An attempt to process a request. The holder does the work.
#[derive(Clone, Debug)]
pub(crate) struct RequestAttempt {
    id: Document,
    /// The id of the request's one write.
    pub(crate) write_id: ObjectId,
    /// Whether there was an attempt before this one.
    pub(crate) is_another: bool,
}

impl RequestAttempt {
    /// Returns the id of the request's message, in place of a client's own `client_id`. Of overlapping attempts only
    /// one is written. It is longer than any id that a client can send.
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

/// The next step for a request.
#[derive(Debug)]
pub(crate) enum Claim {
    /// The caller must process it.
    Do(RequestAttempt),
    /// It was processed.
    Done(StoredResponse),
    /// It is being processed.
    UnderWay,
    /// The key was used for another request.
    Different,
}

impl Store {
    fn requests(&self) -> Collection<Document> {
        self.db.collection("requests")
    }

    /// Looks up a request and claims it if it is new. `content` is the hash that distinguishes requests, `lease` the
    /// time to process it, `kept` the lifetime of the key.
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
            // The record expired in between.
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
        // No document matches this filter. If the key has a record, the upsert tries to insert another one and fails.
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

    /// Claims a record whose lease has ended. Of several concurrent callers only one gets it.
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

    /// Stores the response to a request. It is deleted with the erasure of any user in `about`.
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

    /// Ends the lease, so that the next attempt starts immediately. For an attempt that ended without a response to
    /// store.
    pub(crate) async fn release(&self, attempt: &RequestAttempt) -> Result<(), StoreError> {
        self.update_request(attempt, doc! { "$set": { "until": DateTime::from_millis(0) } }).await
    }

    async fn update_request(&self, attempt: &RequestAttempt, update: Document) -> Result<(), StoreError> {
        let requests = self.requests();
        let filter = doc! { "_id": attempt.id.clone() };
        self.run_detached(async move { Ok(requests.update_one(filter, update).await.map(|_| ())?) }).await
    }

    /// Deletes the record of an attempt that changed nothing. The key is free again, also for another request.
    pub(crate) async fn forget(&self, attempt: &RequestAttempt) -> Result<(), StoreError> {
        let requests = self.requests();
        let filter = doc! { "_id": attempt.id.clone() };
        self.run_detached(async move { Ok(requests.delete_one(filter).await.map(|_| ())?) }).await
    }

    /// Returns the message that an earlier attempt has written; None if it hasn't. A deleted message is returned with
    /// the text of the request, as in its first response.
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

    /// Returns the room that an attempt of this request has created. It may have been deleted since.
    ///
    /// Attempts may overlap, so the read is linearizable. It finds a room that another attempt has written just now,
    /// and only after that write can no longer be rolled back.
    pub(crate) async fn made(&self, attempt: &RequestAttempt) -> Result<Option<RoomId>, StoreError> {
        let rooms = self.db.collection::<RawDocumentBuf>("rooms");
        let filter = doc! { "write_id": attempt.write_id };
        let found = self.run_detached(async move {
            let find = rooms.find_one(filter).projection(doc! { "_id": 1 });
            Ok(find.read_concern(ReadConcern::linearizable()).await?)
        });
        Ok(found.await?.map(|room| codec::read_room_id(&room)).transpose()?)
    }

    /// Removes the responses that concern a user. If such a key is sent again, the request is processed again.
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
