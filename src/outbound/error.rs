//! The ways in which a request fails.

use std::error::Error;
use std::fmt;

use super::breaker::RequestOutcome;
use crate::config::url::UnusableUrl;

/// The reason why there is no valid answer.
#[derive(Debug)]
pub enum OutboundError {
    /// Too many requests are in flight.
    Busy,
    /// Too many requests of this caller are in flight.
    CallerBusy,
    /// The receiver failed repeatedly, and gets no requests for a while.
    Open,
    /// The caller's requests failed repeatedly, and the caller is held back for a while.
    HeldBack {
        /// Meanwhile the receiver answered requests of other callers.
        others: bool,
    },
    /// No connection could be made.
    Connect(reqwest::Error),
    /// The connection broke before the answer was complete.
    Broken(reqwest::Error),
    /// The answer took too long.
    Timeout,
    /// The status is not 2xx.
    Status(u16),
    /// The answer has more than this number of bytes.
    TooLarge(usize),
}

impl OutboundError {
    pub(super) fn from_client(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_connect() { Self::Connect(error) } else { Self::Broken(error) }
    }

    /// Returns what the error says about the receiver: it is unreachable, or it failed at this request. The second may
    /// be the request's own fault. An answer that is refused or too large shows that the receiver works.
    pub(super) fn outcome(&self) -> RequestOutcome {
        match self {
            Self::Connect(_) => RequestOutcome::Unconnected,
            Self::Broken(_) | Self::Timeout => RequestOutcome::Failed,
            Self::Status(status) if *status >= 500 => RequestOutcome::Failed,
            // After a status below 500 or too large an answer, the receiver works. In the other cases no request was
            // made.
            _ => RequestOutcome::Answered,
        }
    }

    /// Returns whether no request was made at all.
    pub(crate) fn was_not_sent(&self) -> bool {
        matches!(self, Self::Busy | Self::CallerBusy | Self::Open | Self::HeldBack { .. })
    }

    /// Returns the label for metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::CallerBusy => "caller_busy",
            Self::Open => "breaker_open",
            Self::HeldBack { .. } => "held_back",
            Self::Connect(_) => "connect",
            Self::Broken(_) => "broken",
            Self::Timeout => "timeout",
            Self::Status(_) => "status",
            Self::TooLarge(_) => "too_large",
        }
    }
}

impl fmt::Display for OutboundError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => to.write_str("too many requests to it are under way"),
            Self::CallerBusy => to.write_str("too many requests of this caller are under way"),
            Self::Open => to.write_str("it failed repeatedly and is left alone for a while"),
            Self::HeldBack { .. } => to.write_str(
                "it failed repeatedly at this caller's requests; the caller is held back for a while",
            ),
            Self::Connect(error) => write!(to, "it can't be reached: {}", chain(error)),
            Self::Broken(error) => write!(to, "the connection broke: {}", chain(error)),
            Self::Timeout => to.write_str("it did not answer in time"),
            Self::Status(status) => write!(to, "it answered with status {status}"),
            Self::TooLarge(most) => write!(to, "its answer has more than {most} bytes"),
        }
    }
}

impl Error for OutboundError {}

/// Returns an error with all of its causes. The first one alone does not say what failed.
fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

/// Returns the error of an HTTP client that can't be built on this machine.
pub(super) fn client_error(error: reqwest::Error) -> UnusableUrl {
    UnusableUrl::new(format!("can't be asked from this machine: {}", chain(&error.without_url())))
}
