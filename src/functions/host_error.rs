//! The error of a host call, which the function receives.

use std::fmt;

/// Why a host call failed. The names are those of `code` in the WIT package, and of `error.code` in JavaScript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostCode {
    InvalidRequest,
    NotFound,
    NotAllowed,
    RateLimited,
    TooLarge,
    Timeout,
    Unavailable,
    Internal,
}

/// The error of a host call.
#[derive(Debug)]
pub(crate) struct HostError {
    pub(crate) code: HostCode,
    /// The text for the function's author. It contains no secret.
    pub(crate) message: String,
}

impl HostCode {
    /// Returns the name of the code in JavaScript and JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::NotFound => "not_found",
            Self::NotAllowed => "not_allowed",
            Self::RateLimited => "rate_limited",
            Self::TooLarge => "too_large",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

impl HostError {
    pub(crate) fn new(code: HostCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.code.name(), self.message)
    }
}
