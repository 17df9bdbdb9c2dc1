//! Requests that are done once however often they are sent: a document for each `Idempotency-Key`, with what was
//! asked and what was answered, until it expires.
//!
//! A record without an answer belongs to whoever does the work, for as long as that may take. Where that time is
//! over the work's end is unknown, for its server died or the database was away: the next one to ask takes the
//! record over, and with it the id by which a write of the first try can be found. All times are the database's: by the
//! clocks of two servers a try may be over for the one that for the other is under way.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Binary, Bson, DateTime, Document, RawDocumentBuf, doc, spec::BinarySubtype};
use handlers::{ClientId, RoomId, Text, UserId};
use mongodb::Collection;
use mongodb::options::ReadConcern;

use super::rooms::create::is_duplicate;
use super::{Store, StoreError, codec, from_now};
use crate::model::message::StoredMessage;

/// How often a record is looked for that comes and goes in the same moment.
const TRIES: usize = 3;

/// Whose key it is, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestKey {
    /// Tells service keys apart without showing them.
    pub(crate) service: [u8; 16],
    /// The header as it came.
    pub(crate) key: String,
}

/// Work on a request, to be done by whoever holds this.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    id: Document,
    /// The mark of the one write that the request stands for.
    pub(crate) write_id: ObjectId,
    /// Whether there was a try before this one.
    pub(crate) is_another: bool,
}

impl Attempt {
    /// What a message of it is known by, in place of a client's own: of tries that overlap one is written. It is longer than
    /// any that a client can send.
    pub(crate) fn client_id(&self) -> String {
        let id = format!("request {}", self.write_id);
        format!("{id:.>width$}", width = ClientId::MAX_CHARS + 1)
    }
}

/// An answer that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// What is to be done with a request.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It is to be done.
    Do(Attempt),
    /// It was done.
    Done(Kept),
    /// It is being done.
    UnderWay,
    /// The key was another request's.
    Different,
}

impl Store {
    fn requests(&self) -> Collection<Document> {
        self.db.collection("requests")
    }

    /// Looks whether a request was made before, and claims it where it wasn't. `content` tells requests apart;
    /// `lease` is how long doing it may take, `kept` how long the key is good for.
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
            let found = self.bounded(async move { Ok(requests.find_one(filter).await?) }).await?;
            // It expired in between.
            let Some(found) = found else { continue };
            if found.get("content") != Some(&binary(&content)) {
                return Ok(Claim::Different);
            }
            if let Some(kept) = read_answer(&found) {
                return Ok(Claim::Done(kept));
            }
            return self.take_over(id, &found, lease).await;
        }
        Err(StoreError::Fault("a request's record came and went".into()))
    }

    async fn claim_new(
        &self,
        id: &Document,
        content: [u8; 32],
        lease: Duration,
        kept: Duration,
    ) -> Result<Option<Attempt>, StoreError> {
        let write_id = ObjectId::new();
        // No record is like this. Where there is one of this key, another is tried to be inserted, and refused.
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
        let inserted = self.bounded(insert).await?;
        match inserted {
            Ok(_) => Ok(Some(Attempt { id: id.clone(), write_id, is_another: false })),
            Err(error) if is_duplicate(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Claims a record whose time is over; of several who try, one gets it.
    async fn take_over(&self, id: Document, found: &Document, lease: Duration) -> Result<Claim, StoreError> {
        let fault = || StoreError::Fault("a request's record does not decode".into());
        let until = *found.get_datetime("until").map_err(|_| fault())?;
        let write_id = found.get_object_id("write_id").map_err(|_| fault())?;
        let over = doc! { "$lte": ["$until", "$$NOW"] };
        let filter = doc! { "_id": id.clone(), "until": until, "$expr": over };
        let update = vec![doc! { "$set": { "until": from_now(lease) } }];
        let requests = self.requests();
        let taken =
            self.bounded(async move { Ok(requests.update_one(filter, update).await?.matched_count) }).await?;
        Ok(match taken {
            0 => Claim::UnderWay,
            _ => Claim::Do(Attempt { id, write_id, is_another: true }),
        })
    }

    /// Keeps the answer to a request; `about` are the users whose erasure takes it along.
    pub(crate) async fn keep_answer(
        &self,
        attempt: &Attempt,
        kept: &Kept,
        about: &[UserId],
    ) -> Result<(), StoreError> {
        let about: Vec<_> = about.iter().map(codec::user_bson).collect();
        let answer = doc! { "status": i32::from(kept.status), "body": &kept.body };
        let update = doc! { "$set": { "answer": answer, "about": about }, "$unset": { "until": "" } };
        self.update_request(attempt, update).await
    }

    /// Lets the next one try at once: this try ended without an answer that is worth keeping.
    pub(crate) async fn give_up(&self, attempt: &Attempt) -> Result<(), StoreError> {
        self.update_request(attempt, doc! { "$set": { "until": DateTime::from_millis(0) } }).await
    }

    async fn update_request(&self, attempt: &Attempt, update: Document) -> Result<(), StoreError> {
        let requests = self.requests();
        let filter = doc! { "_id": attempt.id.clone() };
        self.bounded(async move { Ok(requests.update_one(filter, update).await.map(|_| ())?) }).await
    }

    /// Ends a try that changed nothing: the key is free again, for another request too.
    pub(crate) async fn forget(&self, attempt: &Attempt) -> Result<(), StoreError> {
        let requests = self.requests();
        let filter = doc! { "_id": attempt.id.clone() };
        self.bounded(async move { Ok(requests.delete_one(filter).await.map(|_| ())?) }).await
    }

    /// The message that an earlier try has written after all; none where it hasn't. A deleted one is shown with the text
    /// of the request, as its first answer showed it.
    pub(crate) async fn written(
        &self,
        room: RoomId,
        sender: &UserId,
        text: &Text,
        attempt: &Attempt,
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
        let found = self.bounded(find).await?;
        let Some(found) = found else { return Ok(None) };
        if let Some(message) = codec::read_message(&found)? {
            return Ok(Some(message));
        }
        let (text, sender) = (text.as_str().to_owned(), sender.clone());
        let created_at = codec::read_time(&found, "created_at")?;
        Ok(Some(StoredMessage { id, sender, text, created_at, updated_at: created_at, write_id: None }))
    }

    /// The room that a try of this request has made; it may have been deleted since.
    ///
    /// Tries may overlap, so the read is linearizable: it finds what another has written just now, and only once
    /// nothing can take that back.
    pub(crate) async fn made(&self, attempt: &Attempt) -> Result<Option<RoomId>, StoreError> {
        let rooms = self.db.collection::<RawDocumentBuf>("rooms");
        let filter = doc! { "write_id": attempt.write_id };
        let found = self.bounded(async move {
            let find = rooms.find_one(filter).projection(doc! { "_id": 1 });
            Ok(find.read_concern(ReadConcern::linearizable()).await?)
        });
        Ok(found.await?.map(|room| codec::read_room_id(&room)).transpose()?)
    }

    /// Removes the answers that tell of a user. A key of theirs that is sent again is done again.
    pub(crate) async fn erase_answers(&self, user: &UserId) -> Result<(), StoreError> {
        let requests = self.requests();
        let filter = doc! { "about": codec::user_bson(user) };
        self.bounded(async move { Ok(requests.delete_many(filter).await.map(|_| ())?) }).await
    }
}

fn read_answer(record: &Document) -> Option<Kept> {
    let answer = record.get_document("answer").ok()?;
    let status = u16::try_from(answer.get_i32("status").ok()?).ok()?;
    Some(Kept { status, body: answer.get_str("body").ok()?.to_owned() })
}

fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() })
}
