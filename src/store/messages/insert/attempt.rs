//! One try at a batch, as one command, and what its answer is taken for.

use bson::{Document, RawArrayBuf, RawDocumentBuf, Utf8Lossy, rawdoc};
use mongodb::Database;
use mongodb::error::{Error, ErrorKind, InsertManyError};

use super::Entry;
use crate::store::StoreError;
use crate::store::messages::sequence_cache::Last;
use crate::store::rooms::create::DUPLICATE_KEY;
use crate::store::schema::BY_CLIENT;

/// Texts in one command, in bytes, with [`AROUND`] each: together they have to be a document of the database's, which is 16 MiB
/// at most.
const COMMAND_BYTES: usize = 8 << 20;

/// What of a message is no text, in bytes: less than this.
const AROUND: usize = 1024;

/// How an attempt at a batch ended.
pub(super) enum Attempt {
    /// All of it is written.
    Written,
    /// The entries before this one are written; its number is another message's.
    Taken(usize),
    /// The entries before this one are written; its sender has given its `client_id` before.
    Repeated(usize),
    /// Nothing of it was begun.
    NotBegun(StoreError),
    /// It may be written, all, in part, or not.
    Unknown(StoreError),
    /// The entries before this one are written; this one the database won't have.
    Refused(usize, Error),
    /// The database won't have any of it.
    AllRefused(Error),
}

/// How many of a batch fit into one command, and at least one.
pub(super) fn in_one_command(batch: &[Entry]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.draft.text.as_str().len() + AROUND;
        bytes <= COMMAND_BYTES
    };
    batch.iter().take_while(fits).count().max(1)
}

/// Inserts messages in their order, up to the first that fails, on a majority. Said by ourselves: the driver's `insert_many`
/// takes every document apart again, for its `_id`.
pub(super) fn insert(batch: &[Entry], numbers: &[Last]) -> RawDocumentBuf {
    let documents: RawArrayBuf =
        batch.iter().zip(numbers).map(|(entry, n)| entry.draft.numbered(*n)).collect();
    rawdoc! { "insert": "messages", "ordered": true, "writeConcern": { "w": "majority" }, "documents": documents }
}

impl Attempt {
    /// Runs what [`insert`] made of so many messages.
    pub(super) async fn run(db: &Database, insert: RawDocumentBuf, messages: usize) -> Self {
        match db.run_raw_command(insert).await {
            Ok(answer) => Self::answered(answer, messages),
            Err(error) if matches!(*error.kind, ErrorKind::Bson(_)) => Self::unreadable(error, messages),
            Err(error) => Self::failed(error),
        }
    }

    /// Of a key that is taken the database quotes the first 150 bytes, up to the middle of a character (SERVER-24007).
    fn unreadable(error: Error, messages: usize) -> Self {
        match error.server_response().map(Utf8Lossy::<Document>::try_from) {
            Some(Ok(Utf8Lossy(answer))) => Self::answered(answer, messages),
            _ => Self::Unknown(StoreError::Unknown(Some(error))),
        }
    }

    /// What fails of an insert stands in its answer, in the form of the driver's own.
    pub(super) fn answered(answer: Document, messages: usize) -> Self {
        let failed: InsertManyError = match bson::deserialize_from_document(answer) {
            Ok(failed) => failed,
            // An answer that says nothing: it was written, or in part, or not.
            Err(error) => return Self::Unknown(StoreError::Unknown(Some(error.into()))),
        };
        if failed.write_errors.is_none() && failed.write_concern_error.is_none() {
            return Self::Written;
        }
        let senseless = failed.write_errors.iter().flatten().any(|error| error.index >= messages);
        let error = ErrorKind::InsertMany(failed).into();
        if senseless { Self::Unknown(StoreError::Unknown(Some(error))) } else { Self::failed(error) }
    }

    fn failed(error: Error) -> Self {
        match StoreError::from(error.clone()) {
            StoreError::Fault(_) => {}
            error @ StoreError::Unreachable(_) => return Self::NotBegun(error),
            // Without the majority's word for those before the one that failed, their outcome is as unknown as the rest's.
            error => return Self::Unknown(error),
        }
        let ErrorKind::InsertMany(insert) = &*error.kind else { return Self::AllRefused(error) };
        let first = insert.write_errors.as_ref().and_then(|errors| errors.first());
        match first {
            Some(write) if write.code != DUPLICATE_KEY => Self::Refused(write.index, error),
            Some(write) if is_of_client(&write.message) => Self::Repeated(write.index),
            Some(write) => Self::Taken(write.index),
            None => Self::AllRefused(error),
        }
    }
}

/// Which unique index a duplicate's error names. What follows it there are the values of the key: a client's own words.
fn is_of_client(message: &str) -> bool {
    let before_key = message.split(" dup key").next().unwrap_or_default();
    before_key.split_whitespace().any(|word| word == BY_CLIENT)
}
