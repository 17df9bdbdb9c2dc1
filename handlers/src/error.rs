//! The errors of actions: a closed set of codes, a message for the client, and a cause for the log.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// The stable code of an error. Clients decide by this code what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The frame is not JSON, is not an object, or is binary.
    BadJson,
    /// No action has this name, or the frame has no `action`.
    UnknownAction,
    /// A field is missing, of the wrong type, or out of range.
    InvalidRequest,
    /// The message does not exist in this room or is deleted, or the caller is not in the room.
    NotFound,
    /// The message belongs to another user.
    NotAuthor,
    /// The new token fails a check, or belongs to another user.
    InvalidToken,
    /// The application refused the message. `message` says why.
    Rejected,
    /// The user exceeded a rate, or too many calls of this action are running on the server.
    RateLimited,
    /// The action did not end in time. The action may still succeed. The socket then receives the action's event.
    Timeout,
    /// The database, or the server of a function or hook, can't be reached. Nothing was written.
    Unavailable,
    /// An error of the server. `message` contains an id by which the operator finds the cause in the log.
    Internal,
}

impl Code {
    /// Returns the code as it stands in frames, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::UnknownAction => "unknown_action",
            Self::InvalidRequest => "invalid_request",
            Self::NotFound => "not_found",
            Self::NotAuthor => "not_author",
            Self::InvalidToken => "invalid_token",
            Self::Rejected => "rejected",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// An error of an action: a code, the message for the client, and the cause, which only the log shows.
#[derive(Debug)]
pub struct Error {
    code: Code,
    message: Cow<'static, str>,
    retry_after_ms: Option<u64>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error without a cause. The client receives `message`.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None, cause: None }
    }

    /// Makes an error with a cause for the log.
    pub fn caused(
        code: Code,
        message: impl Into<Cow<'static, str>>,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { cause: Some(cause.into()), ..Self::new(code, message) }
    }

    /// Makes a `rate_limited` error. The client should wait `retry_after_ms` milliseconds before it sends the frame
    /// again.
    pub fn rate_limited(message: &'static str, retry_after_ms: u64) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..Self::new(Code::RateLimited, message) }
    }

    /// Makes an `internal` error. The client receives no cause, only the text "internal error" and an id. The log shows
    /// the cause beside this id.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::caused(Code::Internal, "internal error", cause)
    }

    /// Makes a `not_found` error for a message that does not exist or is deleted.
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "no such message in this room")
    }

    /// Makes a `not_author` error. `message` says what only the author may do, for example edit a message.
    pub fn not_author(message: &'static str) -> Self {
        Self::new(Code::NotAuthor, message)
    }

    /// Makes an `invalid_request` error. `message` names the field.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    /// Returns the code, by which clients distinguish errors.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns the message, which clients may show.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the milliseconds that the client should wait before it sends the frame again. Only a `rate_limited`
    /// error has this value.
    pub fn retry_after_ms(&self) -> Option<u64> {
        self.retry_after_ms
    }
}

impl fmt::Display for Error {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.code.as_str(), self.message)?;
        match &self.cause {
            Some(cause) => write!(to, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}
