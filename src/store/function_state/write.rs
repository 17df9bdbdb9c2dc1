//! Writes values of functions. Each write is one update of one document, which a majority has stored when it returns.

use bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::ReturnDocument;

use super::{StateBounds, StateError, StateOwner, TTL_SECONDS, alive, check_key, read_json, read_version};
use crate::store::rooms::create::DUPLICATE_KEY;
use crate::store::{Store, StoreError};

/// The largest absolute value of a stored number to which can be added: JavaScript's largest safe integer.
const SAFE: i64 = (1 << 53) - 1;

/// The size of a number that can be added to, in bytes: the longest text of such a number.
const NUMBER_BYTES: usize = 17;

/// A value to write.
struct Write<'a> {
    owner: &'a StateOwner,
    key: &'a str,
    value: Bson,
    bytes: usize,
    ttl_seconds: Option<u32>,
}

impl<'a> Write<'a> {
    fn new(
        owner: &'a StateOwner,
        key: &'a str,
        json: String,
        ttl_seconds: Option<u32>,
        bounds: &StateBounds,
    ) -> Result<Self, StateError> {
        check_key(key)?;
        check_ttl(ttl_seconds)?;
        if json.len() > bounds.value_bytes {
            return Err(StateError::TooLarge("state_value_bytes", bounds.value_bytes));
        }
        let number = json.parse::<i64>().ok().filter(|n| n.abs() <= SAFE && n.to_string() == json);
        let (value, bytes) = if let Some(number) = number {
            (Bson::Int64(number), NUMBER_BYTES)
        } else {
            let bytes = json.len();
            (Bson::String(json), bytes)
        };
        Ok(Self { owner, key, value, bytes: key.len() + bytes, ttl_seconds })
    }

    fn filter(&self) -> Document {
        doc! { "_id": self.owner.id(self.key) }
    }

    /// Returns a condition for the size of a value that this value can replace without making the scope larger.
    fn at_least_as_large(&self) -> Document {
        doc! { "$gte": i64::try_from(self.bytes).unwrap_or(i64::MAX) }
    }

    /// Returns the update that replaces the value.
    fn update(&self) -> Vec<Document> {
        let bytes = i64::try_from(self.bytes).unwrap_or(i64::MAX);
        let set = doc! {
            "value": { "$literal": self.value.clone() },
            "bytes": bytes,
            "version": next_version(),
            "expires_at": expiry(self.ttl_seconds),
        };
        vec![doc! { "$set": set }]
    }
}

fn check_ttl(ttl_seconds: Option<u32>) -> Result<(), StateError> {
    if ttl_seconds.is_some_and(|ttl| !(1..=TTL_SECONDS).contains(&ttl)) {
        return Err(StateError::Invalid(format!("ttl is from 1 to {TTL_SECONDS} seconds")));
    }
    Ok(())
}

/// Returns an expression for the version of the next write.
fn next_version() -> Document {
    let now = doc! { "$multiply": [{ "$toLong": "$$NOW" }, 1_000_i64] };
    doc! { "$max": [now, { "$add": [{ "$ifNull": ["$version", 0_i64] }, 1_i64] }] }
}

/// Returns an expression for the time at which a value expires, or for no time.
fn expiry(ttl_seconds: Option<u32>) -> Bson {
    match ttl_seconds {
        Some(ttl) => doc! { "$add": ["$$NOW", i64::from(ttl) * 1_000] }.into(),
        None => "$$REMOVE".into(),
    }
}

impl Store {
    /// Writes a value. Returns its version.
    pub(crate) async fn set_state(
        &self,
        owner: &StateOwner,
        key: &str,
        json: String,
        ttl_seconds: Option<u32>,
        bounds: &StateBounds,
    ) -> Result<u64, StateError> {
        let write = Write::new(owner, key, json, ttl_seconds, bounds)?;
        // The value of a scope that does not grow needs no count of the scope.
        let mut in_place = write.filter();
        in_place.insert("bytes", write.at_least_as_large());
        in_place.insert("$expr", alive());
        if let Some(written) = self.update_state(in_place, write.update(), false).await? {
            return Ok(read_version(&written).map_err(StoreError::from)?);
        }
        self.check_room_for(owner, key, write.bytes, bounds).await?;
        let written = self.update_state(write.filter(), write.update(), true).await?;
        let written = written.ok_or_else(|| StoreError::Fault("a state was not written".into()))?;
        Ok(read_version(&written).map_err(StoreError::from)?)
    }

    /// Writes a value if the stored version is `version`. With 0: if there is no value. Returns the new version. None
    /// if the stored version is another.
    pub(crate) async fn swap_state(
        &self,
        owner: &StateOwner,
        key: &str,
        version: u64,
        json: String,
        ttl_seconds: Option<u32>,
        bounds: &StateBounds,
    ) -> Result<Option<u64>, StateError> {
        let write = Write::new(owner, key, json, ttl_seconds, bounds)?;
        let Ok(version) = i64::try_from(version) else { return Ok(None) };
        if version == 0 {
            if self.state_value(owner, key).await?.is_some() {
                return Ok(None);
            }
            self.check_room_for(owner, key, write.bytes, bounds).await?;
            let written = self.insert_state(&write).await?;
            return Ok(written
                .map(|written| read_version(&written))
                .transpose()
                .map_err(StoreError::from)?);
        }
        let mut filter = write.filter();
        filter.insert("version", version);
        filter.insert("$expr", alive());
        let mut in_place = filter.clone();
        in_place.insert("bytes", write.at_least_as_large());
        let mut written = self.update_state(in_place, write.update(), false).await?;
        if written.is_none() && self.state_value(owner, key).await?.is_some_and(|stored| stored.is(version)) {
            self.check_room_for(owner, key, write.bytes, bounds).await?;
            written = self.update_state(filter, write.update(), false).await?;
        }
        Ok(written.map(|written| read_version(&written)).transpose().map_err(StoreError::from)?)
    }

    /// Adds to a number. A value that is missing counts as 0. The time of expiry is set only if the value was missing.
    /// Returns the new number.
    pub(crate) async fn add_state(
        &self,
        owner: &StateOwner,
        key: &str,
        amount: i64,
        ttl_seconds: Option<u32>,
        bounds: &StateBounds,
    ) -> Result<i64, StateError> {
        let unsafe_number = || StateError::Invalid(format!("a number is from -{SAFE} to {SAFE}"));
        if amount.checked_abs().is_none_or(|amount| amount > SAFE) {
            return Err(unsafe_number());
        }
        let write = Write::new(owner, key, amount.to_string(), ttl_seconds, bounds)?;
        let sum = doc! { "$add": ["$value", amount] };
        // The database may evaluate this condition for values that are no numbers, too.
        let is_number = doc! { "$eq": [{ "$type": "$value" }, "long"] };
        let within = doc! { "$and": [{ "$lte": [&sum, SAFE] }, { "$gte": [&sum, -SAFE] }] };
        let is_safe = doc! { "$cond": [is_number, within, false] };
        let mut in_place = write.filter();
        in_place.insert("$expr", doc! { "$and": [alive(), is_safe] });
        let added = vec![doc! { "$set": { "value": sum, "version": next_version() } }];
        // The first attempt adds to a value. The second attempt inserts a value. If another function inserts one
        // meanwhile, the third attempt adds to it.
        for attempt in 0..3 {
            if attempt != 1 {
                let written = self.update_state(in_place.clone(), added.clone(), false).await?;
                if let Some(written) = written {
                    let json = read_json(&written).map_err(StoreError::from)?;
                    return json.parse().map_err(|_| unsafe_number());
                }
                continue;
            }
            self.check_room_for(owner, key, write.bytes, bounds).await?;
            if self.insert_state(&write).await?.is_some() {
                return Ok(amount);
            }
        }
        let stored = self.state_value(owner, key).await?;
        Err(match stored.map(|stored| stored.json.parse::<i64>().is_ok()) {
            Some(true) => unsafe_number(),
            Some(false) => StateError::Invalid("the stored value is not a whole number".to_owned()),
            None => StateError::Store(StoreError::Unreachable(None)),
        })
    }

    /// Deletes a value. Returns whether there was one. The document stays for a while, as one that has expired, so that a
    /// value that is written again has a later version.
    pub(crate) async fn delete_state(&self, owner: &StateOwner, key: &str) -> Result<bool, StateError> {
        check_key(key)?;
        let filter = doc! { "_id": owner.id(key), "$expr": alive() };
        let set = doc! { "value": 0_i64, "bytes": 0_i64, "version": next_version(), "expires_at": "$$NOW" };
        let deleted = self.update_state(filter, vec![doc! { "$set": set }], false).await?;
        Ok(deleted.is_some())
    }

    /// Writes a value where there is none. None if there is one.
    async fn insert_state(&self, write: &Write<'_>) -> Result<Option<RawDocumentBuf>, StateError> {
        let mut expired = write.filter();
        expired.insert("$expr", doc! { "$not": [alive()] });
        if let Some(written) = self.update_state(expired, write.update(), false).await? {
            return Ok(Some(written));
        }
        // An upsert can't compare with `$$NOW`. This filter matches no document, so the write inserts one, or fails if
        // there is one.
        let mut missing = write.filter();
        missing.insert("version", doc! { "$lt": 0_i64 });
        match self.update_state(missing, write.update(), true).await {
            Err(StateError::Store(StoreError::Fault(error))) if is_taken(&*error) => Ok(None),
            written => written,
        }
    }

    async fn update_state(
        &self,
        filter: Document,
        update: Vec<Document>,
        upsert: bool,
    ) -> Result<Option<RawDocumentBuf>, StateError> {
        let state = self.function_state();
        let written = self.run_detached(async move {
            let update = state.find_one_and_update(filter, update);
            Ok(update.upsert(upsert).return_document(ReturnDocument::After).await?)
        });
        Ok(written.await?)
    }
}

/// Returns whether a write failed because a document with the same `_id` exists.
fn is_taken(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let kind = error.downcast_ref::<Error>().map(|error| &*error.kind);
    matches!(kind, Some(ErrorKind::Command(command)) if command.code == DUPLICATE_KEY)
}
