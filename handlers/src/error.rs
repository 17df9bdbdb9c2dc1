//! How an action fails: a closed set of codes, a message for the client, a cause for the log.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// The stable code of an error: clients branch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The frame is not JSON, is not an object, or is binary.
    BadJson,
    /// No action has this name, or the frame has no `action`.
    UnknownAction,
    /// A field is missing, of the wrong type, or out of range.
    InvalidRequest,
    /// There is no such message in this room, deleted ones included, or the caller is not in the room.
    NotFound,
    /// The message is another user's.
    NotAuthor,
    /// The new token fails a check, or is another user's.
    InvalidToken,
    /// The application refused the message. `message` is its reason.
    Rejected,
    /// Too much in too short a time.
    RateLimited,
    /// The action did not end in time. It may still be done, and its event then follows.
    Timeout,
    /// The database, or the server of a function or hook, can't be reached. Nothing was written.
    Unavailable,
    /// An error of the server. `message` has an id that is in the server's log.
    Internal,
}

impl Code {
    /// As on the wire, in logs and in metrics.
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

/// A code, what the client reads, and what only the log gets.
#[derive(Debug)]
pub struct Error {
    code: Code,
    message: Cow<'static, str>,
    retry_after_ms: Option<u64>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error that needs no further cause. `message` is shown to the client.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None, cause: None }
    }

    /// An error whose cause is for the log alone.
    pub fn caused(
        code: Code,
        message: impl Into<Cow<'static, str>>,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { cause: Some(cause.into()), ..Self::new(code, message) }
    }

    /// `rate_limited`, with the time after which the same frame would pass, in milliseconds.
    pub fn rate_limited(message: &'static str, retry_after_ms: u64) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..Self::new(Code::RateLimited, message) }
    }

    /// `internal`: the client is told nothing but that; the runtime adds an id to find the cause by.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::caused(Code::Internal, "internal error", cause)
    }

    /// `not_found`, of a message.
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "no such message in this room")
    }

    /// `not_author`; `message` says what only the author may do.
    pub fn not_author(message: &'static str) -> Self {
        Self::new(Code::NotAuthor, message)
    }

    /// `invalid_request`; `message` names the field.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    /// What clients branch on.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What clients may show.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// In how many milliseconds the frame would pass; with `rate_limited` only.
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
