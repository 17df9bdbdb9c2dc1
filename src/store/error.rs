//! The errors of database operations. A caller must know whether the failed operation may have written something. Each
//! variant of [`StoreError`] answers this question.

use std::fmt;

use handlers::{Code, UserId};
use mongodb::error::{Error, ErrorKind, InsertManyError, WriteFailure};

use super::codec::Undecodable;
use super::error_text::summary;

/// A failed operation.
#[derive(Debug)]
pub enum StoreError {
    /// The database can't be reached, and the operation did not start. Nothing was written.
    Unreachable(Option<Error>),
    /// The operation started, but its outcome is unknown. The operation may or may not have written something.
    Unknown(Option<Error>),
    /// The database rejected the operation, or Parlor can't use the database's answer.
    Fault(Box<dyn std::error::Error + Send + Sync>),
    /// Too many operations wait for the database (`limits.write_queue`, `limits.bulk_wait_ms`). Nothing was written.
    Full,
    /// The sender is no longer a member of the room: the membership ended while the message waited in the write queue.
    /// Nothing was written.
    NotMember,
    /// The user is being erased. Nothing is written for the user until the erasure has ended.
    Erasing(UserId),
}

impl fmt::Display for StoreError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(Some(error)) => {
                write!(to, "the database can't be reached: {}", summary(error))?;
                hint(&error.to_string()).map_or(Ok(()), |hint| write!(to, "; {hint}"))
            }
            Self::Unreachable(None) => to.write_str("the database can't be reached"),
            Self::Unknown(Some(error)) => write!(to, "the database did not answer: {}", summary(error)),
            Self::Unknown(None) => to.write_str("the database did not answer in time"),
            Self::Fault(error) if error.is::<UnusableDatabase>() => write!(to, "{error}"),
            Self::Fault(error) => match error.downcast_ref::<Error>() {
                Some(error) => write!(to, "the database refused: {}", summary(error)),
                None => write!(to, "the database refused: {error}"),
            },
            Self::Full => to.write_str("too many operations wait for the database"),
            Self::NotMember => to.write_str("the sender is no longer a member of the room"),
            Self::Erasing(user) => write!(to, "user {user} is being erased; try again when that has ended"),
        }
    }
}

/// The error for a database that Parlor can't use. The text names the problem and the remedy.
#[derive(Debug)]
pub(super) struct UnusableDatabase {
    pub(super) text: String,
    /// Whether the error lasts until an operator changes the settings or the database.
    pub(super) lasting: bool,
}

impl fmt::Display for UnusableDatabase {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.text)
    }
}

impl std::error::Error for UnusableDatabase {}

impl From<UnusableDatabase> for StoreError {
    fn from(error: UnusableDatabase) -> Self {
        Self::Fault(Box::new(error))
    }
}

/// Returns advice if the text of a driver's error suggests a wrong TLS setting. In the first case, the database
/// requires TLS, but the URI lacks `tls=true`. In the second case, the URI has `tls=true`, but the database does not
/// use TLS.
pub(super) fn hint(words: &str) -> Option<&'static str> {
    const ENDED: [&str; 3] = ["unexpected end of file", "early eof", "Connection reset by peer"];
    if ENDED.iter().any(|ended| words.contains(ended)) {
        return Some("if the database accepts only TLS connections, add tls=true to mongodb.uri");
    }
    words
        .contains("InvalidContentType")
        .then_some("if the database does not use TLS, remove tls=true from mongodb.uri")
}

impl std::error::Error for StoreError {}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match *error.kind {
            ErrorKind::ServerSelection { .. } | ErrorKind::DnsResolve { .. } | ErrorKind::Shutdown => {
                Self::Unreachable(Some(error))
            }
            // The driver reports this error in two cases. In the first case, the operation got no connection and did
            // not start. In the second case, the operation was running when the driver's monitor got no answer from the
            // database node. Only the beginning of the text distinguishes the two cases.
            ErrorKind::ConnectionPoolCleared { ref message, .. } if message.starts_with(NO_CONNECTION) => {
                Self::Unreachable(Some(error))
            }
            ErrorKind::ConnectionPoolCleared { .. } => Self::Unknown(Some(error)),
            // In a write concern error, too few database nodes have confirmed the write, so the write may be rolled
            // back.
            ErrorKind::Io(_) | ErrorKind::Write(WriteFailure::WriteConcernError(_)) => {
                Self::Unknown(Some(error))
            }
            ErrorKind::InsertMany(ref failed)
                if failed.write_concern_error.is_some() || is_passing(failed) =>
            {
                Self::Unknown(Some(error))
            }
            ErrorKind::Command(ref command) if PASSING.contains(&command.code) => Self::Unknown(Some(error)),
            _ if error.contains_label("RetryableWriteError") => Self::Unknown(Some(error)),
            _ => Self::Fault(Box::new(error)),
        }
    }
}

/// The beginning of the driver's error text for an operation that got no connection. If a new version of the driver
/// changes the text, the outcome of the operation counts as unknown. This is safe: Parlor then does not claim that
/// nothing was written.
const NO_CONNECTION: &str = "Connection pool for ";

/// The error codes of a node that is no longer the primary, and of a router that can't reach the primary. After one of
/// these errors, another attempt may succeed. The specifications of MongoDB's drivers list the codes. The specification
/// of server discovery (SDAM) calls them "not writable primary" and "node is recovering". The specification of
/// retryable writes calls them "retryable error". The database adds a label to these errors only if the driver may
/// retry the write. The database clients of Parlor's writers don't retry, so their errors have no label.
const PASSING: [i32; 13] = [6, 7, 89, 91, 189, 262, 9001, 10058, 10107, 11600, 11602, 13435, 13436];

/// Returns whether the first document that was not inserted failed with a code in [`PASSING`]. A router (`mongos`)
/// reports these codes for each document, and not for the whole command.
fn is_passing(failed: &InsertManyError) -> bool {
    let first = failed.write_errors.as_ref().and_then(|errors| errors.first());
    first.is_some_and(|error| PASSING.contains(&error.code))
}

impl From<Undecodable> for StoreError {
    fn from(error: Undecodable) -> Self {
        Self::Fault(Box::new(error))
    }
}

impl StoreError {
    /// Converts the error of a step that follows a successful write in the same operation. The operation has written
    /// something, so the result is never [`Unreachable`](Self::Unreachable).
    pub(crate) fn after_a_write(self) -> Self {
        match self {
            Self::Unreachable(cause) => Self::Unknown(cause),
            error => error,
        }
    }

    /// Converts the error of a write to the error that the client receives.
    pub(crate) fn of_write(self) -> handlers::Error {
        match self {
            Self::Unreachable(_) => {
                handlers::Error::caused(Code::Unavailable, "the database is unavailable", self)
            }
            Self::Full => handlers::Error::caused(Code::Unavailable, "the server is overloaded", self),
            Self::NotMember => handlers::Error::new(Code::NotFound, "no such room"),
            Self::Unknown(_) => handlers::Error::caused(
                Code::Timeout,
                "the database did not answer in time; the action may still take effect",
                self,
            ),
            Self::Erasing(_) => handlers::Error::caused(Code::Unavailable, "the user is being erased", self),
            Self::Fault(_) => handlers::Error::internal(self),
        }
    }

    /// Converts the error of a read to the error that the client receives. A read changes nothing, so its outcome is
    /// never unknown.
    pub(crate) fn of_read(self) -> handlers::Error {
        match self {
            Self::Unknown(_) => {
                handlers::Error::caused(Code::Unavailable, "the database is unavailable", self)
            }
            _ => self.of_write(),
        }
    }
}
