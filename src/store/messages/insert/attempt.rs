//! One attempt to write a batch as a single command, and the interpretation of its answer.

use bson::{Document, RawArrayBuf, RawDocumentBuf, Utf8Lossy, rawdoc};
use mongodb::Database;
use mongodb::error::{Error, ErrorKind, InsertManyError};

use super::QueuedMessage;
use crate::store::StoreError;
use crate::store::messages::sequence_cache::LastMessage;
use crate::store::rooms::create::DUPLICATE_KEY;
use crate::store::schema::BY_CLIENT;

/// The maximum of bytes in one command: the texts, and [`AROUND`] for each. The whole command must be a document of
/// the database, which is 16 MiB at most.
const COMMAND_BYTES: usize = 8 << 20;

/// An upper bound of a message's bytes without its text.
const AROUND: usize = 1024;

/// The outcome of an attempt to write a batch.
pub(super) enum InsertOutcome {
    /// All entries are written.
    Written,
    /// The entries before this one are written. Another message already has its number.
    Taken(usize),
    /// The entries before this one are written. Its sender has already used its `client_id`.
    Repeated(usize),
    /// Nothing is written, and no write was started.
    NotBegun(StoreError),
    /// The outcome is unknown: all, some or none of the entries are written.
    Unknown(StoreError),
    /// The entries before this one are written. The database rejects this one.
    Refused(usize, Error),
    /// The database rejects the whole batch.
    AllRefused(Error),
}

/// Returns how many entries of a batch fit into one command; at least one.
pub(super) fn in_one_command(batch: &[QueuedMessage]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&QueuedMessage| {
        bytes += entry.draft.text.as_str().len() + AROUND;
        bytes <= COMMAND_BYTES
    };
    batch.iter().take_while(fits).count().max(1)
}

/// Returns a command that inserts the messages in their order, up to the first that fails, on a majority. The driver's
/// `insert_many` isn't used because it parses every document again, for its `_id`.
pub(super) fn insert(batch: &[QueuedMessage], numbers: &[LastMessage]) -> RawDocumentBuf {
    let documents: RawArrayBuf =
        batch.iter().zip(numbers).map(|(entry, n)| entry.draft.numbered(*n)).collect();
    rawdoc! { "insert": "messages", "ordered": true, "writeConcern": { "w": "majority" }, "documents": documents }
}

impl InsertOutcome {
    /// Runs the command of [`insert`] for this many messages.
    pub(super) async fn run(db: &Database, insert: RawDocumentBuf, messages: usize) -> Self {
        match db.run_raw_command(insert).await {
            Ok(answer) => Self::answered(answer, messages),
            Err(error) if matches!(*error.kind, ErrorKind::Bson(_)) => Self::unreadable(error, messages),
            Err(error) => Self::failed(error),
        }
    }

    /// Parses an answer that isn't valid UTF-8. The database quotes the first 150 bytes of a duplicate key, which may
    /// end within a character (SERVER-24007).
    fn unreadable(error: Error, messages: usize) -> Self {
        match error.server_response().map(Utf8Lossy::<Document>::try_from) {
            Some(Ok(Utf8Lossy(answer))) => Self::answered(answer, messages),
            _ => Self::Unknown(StoreError::Unknown(Some(error))),
        }
    }

    /// Interprets the answer of an insert. Its failures have the same form as the driver's own type.
    pub(super) fn answered(answer: Document, messages: usize) -> Self {
        let failed: InsertManyError = match bson::deserialize_from_document(answer) {
            Ok(failed) => failed,
            // An unreadable answer: all, some or none of the messages were written.
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
            // Without a majority's confirmation of the entries before the failed one, their outcome is unknown, too.
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

/// Tells whether the error of a duplicate names the index by `client_id`. After the index name the message quotes the
/// key's values, which clients choose.
fn is_of_client(message: &str) -> bool {
    let before_key = message.split(" dup key").next().unwrap_or_default();
    before_key.split_whitespace().any(|word| word == BY_CLIENT)
}
