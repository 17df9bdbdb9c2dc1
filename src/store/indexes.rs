//! Whether collections and indexes are as [`prepare`](Store::prepare) makes them, and making them again where they aren't.
//!
//! Somebody may drop the database, a collection or an index under a running server. Without a unique index two rooms can be
//! made for one pair, so a server that lacks one isn't ready. The change stream says that something was dropped; what it
//! doesn't say is found by a look every `mongodb.indexes_seconds`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bson::{Bson, Document, RawDocumentBuf, doc};
use handlers::RoomId;
use mongodb::error::{Error, ErrorKind};
use tokio::sync::Notify;

use super::{Store, StoreError, codec, schema};
use crate::telemetry::metrics::Metrics;

/// The pause before indexes that could not be looked at, or made, are tried again; it doubles...
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// ...up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The server's error code for a collection that isn't there (`NamespaceNotFound`).
const NO_COLLECTION: i32 = 26;

/// The server's error code for a hint that names no index (`BadValue`).
const BAD_VALUE: i32 = 2;

/// What a server knows of its indexes.
#[derive(Default)]
pub(crate) struct Indexes {
    /// What is wrong with them, where something is or may be.
    fault: Mutex<Option<String>>,
    doubted: Notify,
}

impl Indexes {
    /// Has the indexes looked at now: some may be gone. Until they were the server isn't ready.
    pub(crate) fn doubt(&self) {
        self.known().get_or_insert_with(|| "something was dropped; looking".to_owned());
        self.doubted.notify_one();
    }

    /// What is wrong, for those who run the server; none where all is well.
    pub(crate) fn fault(&self) -> Option<String> {
        self.known().clone()
    }

    fn set(&self, fault: Option<String>) {
        *self.known() = fault;
    }

    fn known(&self) -> MutexGuard<'_, Option<String>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An index that isn't there, or isn't what it should be.
#[derive(Debug, PartialEq, Eq)]
struct Missing {
    /// `collection.index`
    name: String,
    unique: bool,
}

impl Store {
    /// What this server knows of its indexes.
    pub(crate) fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    /// Looks at the indexes every `period`, and whenever they are in doubt, and makes those that are missing; for ever.
    pub(crate) async fn keep_indexes(self, period: Duration, metrics: Arc<Metrics>) {
        loop {
            let _ = tokio::time::timeout(period, self.indexes.doubted.notified()).await;
            let mut pause = FIRST_PAUSE;
            while !self.mend_indexes(&metrics).await {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Makes the indexes that are missing; true once there are none.
    async fn mend_indexes(&self, metrics: &Metrics) -> bool {
        let missing = match self.missing_indexes().await {
            Ok(missing) => missing,
            Err(error) => {
                tracing::warn!(%error, "the indexes can't be looked at; trying again");
                return false;
            }
        };
        if missing.is_empty() {
            self.indexes.set(None);
            return true;
        }
        let names: Vec<_> = missing.iter().map(|index| index.name.as_str()).collect();
        let names = names.join(", ");
        metrics.fault("indexes");
        // Without another one all is slow, but right.
        let is_fault = missing.iter().any(|index| index.unique);
        self.indexes.set(is_fault.then(|| format!("missing: {names}")));
        tracing::error!(missing = names, "indexes are missing; making them");
        if let Err(error) = self.prepare().await {
            tracing::error!(%error, missing = names, "indexes can't be made; trying again");
            self.indexes.set(is_fault.then(|| format!("missing: {names}; they can't be made: {error}")));
        }
        // Looked at once more: they must be there, and not only asked for.
        false
    }

    async fn missing_indexes(&self) -> Result<Vec<Missing>, StoreError> {
        let mut wanted: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (collection, index) in schema::indexes() {
            wanted.entry(collection).or_default().push(index);
        }
        let mut missing = Vec::new();
        for (collection, indexes) in wanted {
            let there = self.indexes_of(collection).await?;
            for index in indexes {
                let options = index.options.unwrap_or_default();
                let (name, unique) = (options.name.unwrap_or_default(), options.unique == Some(true));
                let is_it = |there: &Document| {
                    there.get_str("name").is_ok_and(|other| other == name)
                        && there.get_document("key").is_ok_and(|key| is_same_key(key, &index.keys))
                        && there.get_bool("unique").unwrap_or(false) == unique
                };
                if !there.iter().any(is_it) {
                    missing.push(Missing { name: format!("{collection}.{name}"), unique });
                }
            }
        }
        Ok(missing)
    }

    /// The indexes of a collection; none where that isn't there.
    async fn indexes_of(&self, collection: &'static str) -> Result<Vec<Document>, StoreError> {
        let db = self.db.clone();
        let listed = self.bounded(async move {
            match db.run_command(doc! { "listIndexes": collection }).await {
                Ok(listed) => Ok(Some(listed)),
                Err(error) if has_code(&error, NO_COLLECTION) => Ok(None),
                Err(error) => Err(error.into()),
            }
        });
        let Some(listed) = listed.await? else { return Ok(Vec::new()) };
        let batch = listed.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        let batch = batch.map_err(|error| StoreError::Fault(Box::new(error)))?;
        Ok(batch.iter().filter_map(Bson::as_document).cloned().collect())
    }

    /// Raises the counter of rooms to the last room: an id that is taken can't be given again, also where the counter was
    /// dropped.
    pub(super) async fn raise_room_counter(&self) -> Result<(), StoreError> {
        let rooms = self.db.collection::<RawDocumentBuf>("rooms");
        let counters = self.db.collection::<Document>("counters");
        self.bounded(async move {
            let last = rooms.find_one(doc! {}).sort(doc! { "_id": -1 }).projection(doc! { "_id": 1 });
            let Some(last) = last.await? else { return Ok(()) };
            // A document that isn't Parlor's has any `_id`.
            let Ok(last) = codec::read_room_id(&last).map(RoomId::get) else { return Ok(()) };
            let raise = doc! { "$max": { "last": last } };
            counters.update_one(doc! { "_id": "rooms" }, raise).upsert(true).await?;
            Ok(())
        })
        .await
    }

    /// That an index which a statement relies on wasn't there: nothing was written. Looks for it.
    pub(super) fn without_index(&self) -> StoreError {
        self.indexes.doubt();
        StoreError::Unreachable(None)
    }
}

/// Whether two keys of indexes are one to the database, whichever type of number says which way each field is ordered.
fn is_same_key(one: &Document, other: &Document) -> bool {
    let number = |value: &Bson| {
        value
            .as_f64()
            .or_else(|| value.as_i32().map(f64::from))
            .or_else(|| value.as_i64().map(|n| if n < 0 { -1.0 } else { 1.0 }))
    };
    let of = |key: &Document| -> Vec<_> {
        key.iter().map(|(field, value)| (field.clone(), number(value))).collect()
    };
    of(one) == of(other)
}

/// Whether a statement failed for it hinted at an index that isn't there.
pub(super) fn lacks_index(error: &Error) -> bool {
    has_code(error, BAD_VALUE)
}

fn has_code(error: &Error, code: i32) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_whatever_wrote_their_numbers() {
        let own = doc! { "_id.room": 1, "_id.n": 1 };
        assert!(is_same_key(&doc! { "_id.room": 1.0, "_id.n": 1_i64 }, &own));
        for other in
            [doc! { "_id.n": 1, "_id.room": 1 }, doc! { "_id.room": 1 }, doc! { "_id.room": 1, "_id.n": -1 }]
        {
            assert!(!is_same_key(&other, &own), "{other}");
        }
    }

    #[test]
    fn what_is_in_doubt_is_a_fault_until_it_was_looked_at() {
        let indexes = Indexes::default();
        assert_eq!(indexes.fault(), None);
        indexes.doubt();
        assert!(indexes.fault().is_some());
        indexes.set(Some("missing: rooms.pair".to_owned()));
        indexes.doubt();
        assert_eq!(indexes.fault().as_deref(), Some("missing: rooms.pair"), "what is known stays said");
        indexes.set(None);
        assert_eq!(indexes.fault(), None);
    }
}
