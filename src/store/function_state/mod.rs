//! What functions store: values under keys. A value belongs to a function, and to a room, a user, or the function alone.
//!
//! | field | meaning |
//! |---|---|
//! | `_id` | `{function, scope, owner, key}`: the scope is `room`, `user` or `own`; the owner is the room's or the user's id, or null |
//! | `value` | a JSON text, or an integer |
//! | `bytes` | the size of the key and the value |
//! | `version` | grows with each write |
//! | `expires_at` | the time after which the value does not count, or at which it was deleted; absent if it is kept |
//!
//! An integer is stored as a number, so that the database can add to it. A version is a time of the database's clock in
//! microseconds, or one more than the version before if this is larger. A deleted or expired value keeps its document for
//! [`KEPT`], so that a value that is then written again has a later version.

mod erase;
mod usage;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::{RoomId, UserId};
use mongodb::Collection;

pub(crate) use self::erase::ExportedState;
use super::codec::{self, Undecodable};
use super::{Store, StoreError};

/// The name of the collection.
pub(super) const COLLECTION: &str = "function_state";

/// The longest key, in bytes.
const KEY_BYTES: usize = 256;

/// The time for which the document of a deleted or expired value is kept. It is longer than any operation, so that no
/// operation takes a value for the one before it.
pub(super) const KEPT: Duration = Duration::from_mins(10);

/// The most keys in one page.
const PAGE: u32 = 1_000;

/// The longest time until a value expires, in seconds: ten years.
const TTL_SECONDS: u32 = 315_360_000;

/// The function and the scope to which values belong.
#[derive(Clone, Debug)]
pub(crate) struct StateOwner {
    pub(crate) function: Arc<str>,
    pub(crate) scope: StateScope,
}

/// To whom a value belongs, besides the function.
#[derive(Clone, Debug)]
pub(crate) enum StateScope {
    Room(RoomId),
    User(UserId),
    Own,
}

/// The bounds of one scope of a function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateBounds {
    pub(crate) keys: usize,
    pub(crate) value_bytes: usize,
    pub(crate) bytes: usize,
}

/// A stored value.
#[derive(Debug)]
pub(crate) struct StoredValue {
    /// A JSON text.
    pub(crate) json: String,
    pub(crate) version: u64,
}

/// Why an operation failed.
#[derive(Debug)]
pub(crate) enum StateError {
    /// The key, the value or the time is invalid. The text says why.
    Invalid(String),
    /// A bound is reached: its name in the configuration, and its value.
    TooLarge(&'static str, usize),
    Store(StoreError),
}

impl From<StoreError> for StateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl StoredValue {
    fn is(&self, version: i64) -> bool {
        u64::try_from(version) == Ok(self.version)
    }
}

impl StateOwner {
    /// Returns the `_id` of a key's document.
    fn id(&self, key: impl Into<Bson>) -> Document {
        let (scope, owner) = match &self.scope {
            StateScope::Room(room) => ("room", Bson::Int64(room.get())),
            StateScope::User(user) => ("user", codec::user_bson(user)),
            StateScope::Own => ("own", Bson::Null),
        };
        doc! { "function": &*self.function, "scope": scope, "owner": owner, "key": key.into() }
    }
}

/// Returns a condition for the documents whose value has not expired.
fn alive() -> Document {
    let kept = doc! { "$eq": [{ "$type": "$expires_at" }, "missing"] };
    doc! { "$or": [kept, { "$gt": ["$expires_at", "$$NOW"] }] }
}

fn check_key(key: &str) -> Result<(), StateError> {
    if key.is_empty() || key.len() > KEY_BYTES || key.chars().any(char::is_control) {
        let fault = format!("a key has 1 to {KEY_BYTES} bytes and no control characters");
        return Err(StateError::Invalid(fault));
    }
    Ok(())
}

impl Store {
    fn function_state(&self) -> Collection<RawDocumentBuf> {
        self.db.collection(COLLECTION)
    }

    /// Reads a value. None if there is none.
    pub(crate) async fn state_value(
        &self,
        owner: &StateOwner,
        key: &str,
    ) -> Result<Option<StoredValue>, StateError> {
        check_key(key)?;
        let (state, id) = (self.function_state(), owner.id(key));
        let filter = doc! { "_id": id, "$expr": alive() };
        let found = self.run_detached(async move { Ok(state.find_one(filter).await?) }).await?;
        Ok(found.map(|document| read_value(&document)).transpose().map_err(StoreError::from)?)
    }

    /// Returns the keys that begin with a prefix, in their order. With `after`, the page begins after this key.
    pub(crate) async fn state_keys(
        &self,
        owner: &StateOwner,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, StateError> {
        if !(1..=PAGE).contains(&limit) {
            return Err(StateError::Invalid(format!("limit is from 1 to {PAGE}")));
        }
        if prefix.len().max(after.map_or(0, str::len)) > KEY_BYTES {
            return Err(StateError::Invalid(format!("a key has {KEY_BYTES} bytes at most")));
        }
        let from = after.filter(|after| *after >= prefix);
        let lower = if from.is_some() { "$gt" } else { "$gte" };
        // No key is larger than the prefix and this character, except keys with this character itself.
        let upper = format!("{prefix}{}", char::MAX);
        let range = doc! { lower: owner.id(from.unwrap_or(prefix)), "$lte": owner.id(upper) };
        let state = self.function_state();
        let keys = self.run_detached(async move {
            let find = state.find(doc! { "_id": range, "$expr": alive() }).sort(doc! { "_id": 1 });
            let find = find.limit(limit.into()).projection(doc! { "_id": 1 });
            let found: Vec<RawDocumentBuf> = find.await?.try_collect().await?;
            let key = |document: &RawDocumentBuf| -> Result<String, Undecodable> {
                Ok(document.get_document("_id")?.get_str("key")?.to_owned())
            };
            Ok(found.iter().map(key).collect::<Result<_, _>>()?)
        });
        Ok(keys.await?)
    }
}

fn read_value(document: &RawDocument) -> Result<StoredValue, Undecodable> {
    Ok(StoredValue { json: read_json(document)?, version: read_version(document)? })
}

fn read_json(document: &RawDocument) -> Result<String, Undecodable> {
    match document.get_str("value") {
        Ok(json) => Ok(json.to_owned()),
        Err(_) => Ok(codec::read_int(document, "value")?.to_string()),
    }
}

fn read_version(document: &RawDocument) -> Result<u64, Undecodable> {
    // A version is a time, so it is never negative.
    Ok(u64::try_from(codec::read_int(document, "version")?).unwrap_or_default())
}
