//! How a request fails, and why an address can't be used at all.

use std::error::Error;
use std::fmt;

use super::breaker::Ended;
use crate::config::url::UnusableUrl;

/// There was no good answer.
#[derive(Debug)]
pub enum OutboundError {
    /// As many requests as may be are under way.
    Busy,
    /// As many requests of this caller as may be are under way.
    CallerBusy,
    /// It failed again and again, and is left alone for a while.
    Open,
    /// The caller's requests failed again and again, and the caller is held back for a while.
    HeldBack {
        /// Meanwhile the receiver answered requests of others.
        others: bool,
    },
    /// There is nobody there.
    Connect(reqwest::Error),
    /// The connection broke before the answer was whole.
    Broken(reqwest::Error),
    /// It took too long.
    Timeout,
    /// The status is not 2xx.
    Status(u16),
    /// The answer has more bytes than these.
    TooLarge(usize),
}

impl OutboundError {
    pub(super) fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_connect() { Self::Connect(error) } else { Self::Broken(error) }
    }

    /// What it says of the receiver: it is not there, or it failed at this request. The second may be the request's own
    /// fault. An answer that is only refused or too large shows that the receiver works.
    pub(super) fn ended(&self) -> Ended {
        match self {
            Self::Connect(_) => Ended::Unconnected,
            Self::Broken(_) | Self::Timeout => Ended::Failed,
            Self::Status(status) if *status >= 500 => Ended::Failed,
            // A status below 500, or too large an answer: it works. Of the rest no request was made.
            _ => Ended::Answered,
        }
    }

    /// Whether no request was made at all.
    pub(crate) fn is_not_begun(&self) -> bool {
        matches!(self, Self::Busy | Self::CallerBusy | Self::Open | Self::HeldBack { .. })
    }

    /// As metrics count it.
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

/// An error with all of its causes: the first one alone says but that there was one.
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
pub(super) fn no_client(error: reqwest::Error) -> UnusableUrl {
    UnusableUrl::new(format!("can't be asked from this machine: {}", chain(&error.without_url())))
}
