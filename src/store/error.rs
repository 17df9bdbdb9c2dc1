//! The errors of database operations. The most important question of a caller is whether the operation may have written
//! something. Therefore the variants distinguish this.

use std::fmt;

use handlers::{Code, UserId};
use mongodb::error::{Error, ErrorKind, InsertManyError, WriteFailure};

use super::codec::Undecodable;
use super::error_text::summary;
use crate::retry::AttemptError;

/// A failed operation.
#[derive(Debug)]
pub enum StoreError {
    /// The database can't be reached, and the operation did not start. Nothing was written.
    Unreachable(Option<Error>),
    /// The operation started, but its outcome is unknown. It may or may not have written something.
    Unknown(Option<Error>),
    /// The database rejected the operation, or its answer can't be used.
    Fault(Box<dyn std::error::Error + Send + Sync>),
    /// Too many operations wait for the database (`limits.write_queue`, `limits.bulk_wait_ms`). Nothing was written.
    Full,
    /// The sender left the room or was removed while the write waited. Nothing was written.
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

/// A database that Parlor can't use. The text says what is wrong and what to do.
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

/// Returns advice for a driver's error that is probably caused by TLS: either TLS is required but not configured, or
/// the reverse.
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
            // The driver reports this error in two cases: the operation got no connection, or it was running when the
            // driver's monitor of the node got no answer. Only the beginning of the text shows that the operation did
            // not start.
            ErrorKind::ConnectionPoolCleared { ref message, .. } if message.starts_with(NO_CONNECTION) => {
                Self::Unreachable(Some(error))
            }
            ErrorKind::ConnectionPoolCleared { .. } => Self::Unknown(Some(error)),
            // A write concern error: not enough nodes have confirmed the write. It may be rolled back.
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

/// The beginning of the driver's text for an operation that got no connection. If a new version of the driver changes
/// the text, the outcome counts as unknown, which is the safe case.
const NO_CONNECTION: &str = "Connection pool for ";

/// The error codes of a node that is no longer the primary, and of a router that can't reach the primary. The
/// specifications of MongoDB's drivers list them: "not writable primary" and "node is recovering" in the specification
/// of server discovery (SDAM), and "retryable error" in the specification of retryable writes. The database labels
/// these errors only if the driver may retry the write. The clients of Parlor's writers don't retry, so they get no
/// label.
const PASSING: [i32; 13] = [6, 7, 89, 91, 189, 262, 9001, 10058, 10107, 11600, 11602, 13435, 13436];

/// Returns whether the first document that was not inserted failed with an error in [`PASSING`]. A router reports these
/// errors for each document.
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
    /// Converts the error of a step that follows a successful write. Something was written, so the result is never
    /// [`Unreachable`](Self::Unreachable).
    pub(crate) fn after_a_write(self) -> Self {
        match self {
            Self::Unreachable(cause) => Self::Unknown(cause),
            error => error,
        }
    }

    /// Returns the error for [`retry`](crate::retry). [`Fault`](Self::Fault) is final. All other errors, such as those
    /// during an election, may pass.
    pub(crate) fn attempt(self) -> AttemptError<Self> {
        match self {
            Self::Fault(_) => AttemptError::Final(self),
            _ => AttemptError::Retry(self),
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
