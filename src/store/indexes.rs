//! Checks that all collections and indexes exist, and creates the missing collections and indexes.
//!
//! An operator may drop the database, a collection or an index while the server runs. Without a unique index, wrong
//! data can arise: for example, a pair of users could get two direct rooms. Therefore each server reports that it is
//! not ready while a unique index is missing. The change stream reports most drops immediately. A check every
//! `mongodb.indexes_seconds` finds the drops that the change stream does not report.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bson::{Bson, Document, RawDocumentBuf, doc};
use handlers::RoomId;
use mongodb::error::{Error, ErrorKind};
use tokio::sync::Notify;

use super::{Store, StoreError, codec, schema};
use crate::telemetry::metrics::Metrics;

/// The pause before the first repetition of a check that failed or found a missing index. The pause doubles with each
/// repetition.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause between two repetitions of a check.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The database's error code for a missing collection (`NamespaceNotFound`).
const NO_COLLECTION: i32 = 26;

/// The database's error code for a hint that names a missing index (`BadValue`).
const BAD_VALUE: i32 = 2;

/// The result of this server's last check of the indexes.
#[derive(Default)]
pub(crate) struct Indexes {
    /// The text that tells the operator which indexes are missing. None if no unique index is missing.
    problem: Mutex<Option<String>>,
    check_requested: Notify,
}

impl Indexes {
    /// Requests an immediate check, because an index may be missing. The server reports that it is not ready until the
    /// check has ended.
    pub(crate) fn request_check(&self) {
        self.lock_problem().get_or_insert_with(|| "an index may be missing; checking the indexes".to_owned());
        self.check_requested.notify_one();
    }

    /// Returns the text that tells the operator which indexes are missing, or that a requested check is running.
    /// Returns none if no unique index is missing.
    pub(crate) fn problem(&self) -> Option<String> {
        self.lock_problem().clone()
    }

    fn set(&self, fault: Option<String>) {
        *self.lock_problem() = fault;
    }

    fn lock_problem(&self) -> MutexGuard<'_, Option<String>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An index that is missing, or whose keys or uniqueness differ from the index in [`schema`].
#[derive(Debug, PartialEq, Eq)]
struct MissingIndex {
    /// The collection and the index, as `collection.index`.
    name: String,
    unique: bool,
}

impl Store {
    /// Returns the result of this server's last check of the indexes.
    pub(crate) fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    /// Checks the indexes every `period` and on request, and creates missing indexes. Never returns.
    pub(crate) async fn keep_indexes(self, period: Duration, metrics: Arc<Metrics>) {
        loop {
            let _ = tokio::time::timeout(period, self.indexes.check_requested.notified()).await;
            let mut pause = FIRST_PAUSE;
            while !self.mend_indexes(&metrics).await {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Checks the indexes once and creates missing indexes. Returns true if no index was missing.
    async fn mend_indexes(&self, metrics: &Metrics) -> bool {
        let missing = match self.missing_indexes().await {
            Ok(missing) => missing,
            Err(error) => {
                tracing::warn!(%error, "could not list the indexes; trying again");
                return false;
            }
        };
        if missing.is_empty() {
            self.indexes.set(None);
            return true;
        }
        let names: Vec<_> = missing.iter().map(|index| index.name.as_str()).collect();
        let names = names.join(", ");
        metrics.count_fault("indexes");
        // Without a non-unique index, operations are slow but correct.
        let is_fault = missing.iter().any(|index| index.unique);
        self.indexes.set(is_fault.then(|| format!("missing: {names}")));
        tracing::error!(missing = names, "indexes are missing; creating them");
        if let Err(error) = self.prepare().await {
            tracing::error!(%error, missing = names, "could not create indexes; trying again");
            self.indexes.set(is_fault.then(|| format!("missing: {names}; could not create them: {error}")));
        }
        // The next check confirms that the new indexes exist.
        false
    }

    async fn missing_indexes(&self) -> Result<Vec<MissingIndex>, StoreError> {
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
                    missing.push(MissingIndex { name: format!("{collection}.{name}"), unique });
                }
            }
        }
        Ok(missing)
    }

    /// Returns the indexes of a collection. The list is empty if the collection is missing.
    async fn indexes_of(&self, collection: &'static str) -> Result<Vec<Document>, StoreError> {
        let db = self.db.clone();
        let listed = self.run_detached(async move {
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

    /// Raises the counter of room ids to the greatest room id in use. Without this step, a new room could get the id of
    /// an existing room after an operator dropped the counter.
    pub(super) async fn raise_room_counter(&self) -> Result<(), StoreError> {
        let rooms = self.db.collection::<RawDocumentBuf>("rooms");
        let counters = self.db.collection::<Document>("counters");
        self.run_detached(async move {
            let last = rooms.find_one(doc! {}).sort(doc! { "_id": -1 }).projection(doc! { "_id": 1 });
            let Some(last) = last.await? else { return Ok(()) };
            // The `_id` may have an unexpected type, if another program wrote the room.
            let Ok(last) = codec::read_room_id(&last).map(RoomId::get) else { return Ok(()) };
            let raise = doc! { "$max": { "last": last } };
            counters.update_one(doc! { "_id": "rooms" }, raise).upsert(true).await?;
            Ok(())
        })
        .await
    }

    /// Requests a check of the indexes, after a database command failed because an index is missing. Returns the error
    /// of the command, which says that nothing was written.
    pub(super) fn without_index(&self) -> StoreError {
        self.indexes.request_check();
        StoreError::Unreachable(None)
    }
}

/// Returns whether two index keys have the same fields and directions. A direction may be stored as a number of any
/// type.
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

/// Returns whether a database command failed because its hint names a missing index.
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
    fn index_keys_are_equal_for_any_number_type() {
        let own = doc! { "_id.room": 1, "_id.n": 1 };
        assert!(is_same_key(&doc! { "_id.room": 1.0, "_id.n": 1_i64 }, &own));
        for other in
            [doc! { "_id.n": 1, "_id.room": 1 }, doc! { "_id.room": 1 }, doc! { "_id.room": 1, "_id.n": -1 }]
        {
            assert!(!is_same_key(&other, &own), "{other}");
        }
    }

    #[test]
    fn doubted_indexes_are_a_fault_until_they_are_checked() {
        let indexes = Indexes::default();
        assert_eq!(indexes.problem(), None);
        indexes.request_check();
        assert!(indexes.problem().is_some());
        indexes.set(Some("missing: rooms.pair".to_owned()));
        indexes.request_check();
        assert_eq!(indexes.problem().as_deref(), Some("missing: rooms.pair"), "the known fault stays");
        indexes.set(None);
        assert_eq!(indexes.problem(), None);
    }
}
