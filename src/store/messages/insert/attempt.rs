//! Writes a batch of messages with one database command, and interprets the database's answer.

use bson::{Document, RawArrayBuf, RawDocumentBuf, Utf8Lossy, rawdoc};
use mongodb::Database;
use mongodb::error::{Error, ErrorKind, InsertManyError};

use super::QueuedMessage;
use crate::store::StoreError;
use crate::store::messages::sequence_cache::LastMessage;
use crate::store::rooms::create::DUPLICATE_KEY;
use crate::store::schema::BY_CLIENT;

/// The maximum bytes of one command, counted as the bytes of the texts and [`AROUND`] bytes for each message. The
/// database accepts commands of up to 16 MiB.
const COMMAND_BYTES: usize = 8 << 20;

/// An upper bound of the bytes of a message without its text.
const AROUND: usize = 1024;

/// The outcome of an attempt to write a batch.
pub(super) enum InsertOutcome {
    /// All messages are written.
    Written,
    /// The message at this index is not written, because its number is already in use. The messages before it are
    /// written.
    Taken(usize),
    /// The message at this index is not written, because its sender has already used its `client_id` in the room. The
    /// messages before it are written.
    Repeated(usize),
    /// Nothing is written. The write did not start.
    NotBegun(StoreError),
    /// The outcome is unknown: all, some or none of the messages were written.
    Unknown(StoreError),
    /// The message at this index is not written, because the database rejects it. The messages before it are written.
    Refused(usize, Error),
    /// Nothing is written, because the database rejects the whole batch.
    AllRefused(Error),
}

/// Returns how many messages from the start of a batch fit into one command. At least one message fits.
pub(super) fn in_one_command(batch: &[QueuedMessage]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&QueuedMessage| {
        bytes += entry.draft.text.as_str().len() + AROUND;
        bytes <= COMMAND_BYTES
    };
    batch.iter().take_while(fits).count().max(1)
}

/// Returns a command that inserts the messages in their order. The database stops at the first message that fails. It
/// answers after a majority has stored the inserted messages. The driver's `insert_many` is not used, because it parses
/// every document again to find the `_id`.
pub(super) fn insert(batch: &[QueuedMessage], numbers: &[LastMessage]) -> RawDocumentBuf {
    let documents: RawArrayBuf =
        batch.iter().zip(numbers).map(|(entry, n)| entry.draft.numbered(*n)).collect();
    rawdoc! { "insert": "messages", "ordered": true, "writeConcern": { "w": "majority" }, "documents": documents }
}

impl InsertOutcome {
    /// Runs the command from [`insert`]. `messages` is the number of messages in the command.
    pub(super) async fn run(db: &Database, insert: RawDocumentBuf, messages: usize) -> Self {
        match db.run_raw_command(insert).await {
            Ok(answer) => Self::answered(answer, messages),
            Err(error) if matches!(*error.kind, ErrorKind::Bson(_)) => Self::unreadable(error, messages),
            Err(error) => Self::failed(error),
        }
    }

    /// Interprets an answer that is not valid UTF-8. The error for a duplicate key quotes the first 150 bytes of the
    /// key. The quote may end in the middle of a character (MongoDB's issue SERVER-24007).
    fn unreadable(error: Error, messages: usize) -> Self {
        match error.server_response().map(Utf8Lossy::<Document>::try_from) {
            Some(Ok(Utf8Lossy(answer))) => Self::answered(answer, messages),
            _ => Self::Unknown(StoreError::Unknown(Some(error))),
        }
    }

    /// Interprets the database's answer to an insert. The errors in the answer have the form of the driver's type
    /// [`InsertManyError`].
    pub(super) fn answered(answer: Document, messages: usize) -> Self {
        let failed: InsertManyError = match bson::deserialize_from_document(answer) {
            Ok(failed) => failed,
            // The answer can't be decoded, so all, some or none of the messages may be written.
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
            // The outcome is unknown for all messages, also for the messages before a failed message: no majority has
            // confirmed any of them.
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

/// Returns whether a duplicate key error names the index on `client_id`. Only the text before the key is searched,
/// because the key contains values that clients choose.
fn is_of_client(message: &str) -> bool {
    let before_key = message.split(" dup key").next().unwrap_or_default();
    before_key.split_whitespace().any(|word| word == BY_CLIENT)
}
