//! The reasons why a request to a receiver (a server of the application) fails.

use std::error::Error;
use std::fmt;

use super::breaker::RequestOutcome;
use crate::config::url::UnusableUrl;

/// The reason why a request has no valid answer.
#[derive(Debug)]
pub enum OutboundError {
    /// The receiver's limit of concurrent requests is reached. No request was sent.
    Busy,
    /// The caller (the user or room for which Parlor sends the request) has reached the limit of concurrent requests.
    /// No request was sent.
    CallerBusy,
    /// The circuit breaker is open, because the receiver failed repeatedly. No request was sent.
    Open,
    /// The caller is held back, because its requests failed repeatedly. No request was sent.
    HeldBack {
        /// Whether the receiver has answered other callers since this caller's first failure.
        others: bool,
    },
    /// No connection could be made.
    Connect(reqwest::Error),
    /// The connection broke before the answer was complete.
    Broken(reqwest::Error),
    /// There was no complete answer within the timeout.
    Timeout,
    /// The answer's status, which is not 2xx.
    Status(u16),
    /// The answer has more bytes than this limit.
    TooLarge(usize),
    /// A function file failed. The text is for the log.
    Program(ProgramFailure, String),
    /// No version of the function file is loaded. The function was not called.
    NotLoaded,
}

/// How a function file failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramFailure {
    /// The memory of all instances is used up. The function was not called.
    Busy,
    /// The function used up its CPU time.
    Cpu,
    /// The function ended by itself: it threw an error, or its answer is too large.
    Error,
    /// The function was ended: by its memory limit, its stack, or a trap.
    Trap,
}

impl OutboundError {
    /// Converts an error of the HTTP client. Removes the URL from the error, because the URL may include a key.
    pub(super) fn from_client(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_connect() { Self::Connect(error) } else { Self::Broken(error) }
    }

    /// Returns the outcome that the circuit breaker records. The outcome `Failed` means that the content of the request
    /// may be the cause.
    pub(super) fn outcome(&self) -> RequestOutcome {
        match self {
            Self::Connect(_) => RequestOutcome::Unconnected,
            Self::Broken(_)
            | Self::Timeout
            | Self::Program(ProgramFailure::Cpu | ProgramFailure::Trap, _) => RequestOutcome::Failed,
            Self::Status(status) if *status >= 500 => RequestOutcome::Failed,
            // A status below 500, an answer that is too large, or an error that a function file has thrown, shows that
            // the receiver works. `Busy`, `CallerBusy`,
            // `Open` and `HeldBack` never get here: no request was sent, so the breaker has no attempt to finish.
            _ => RequestOutcome::Answered,
        }
    }

    /// Returns whether no request was sent.
    pub(crate) fn was_not_sent(&self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::CallerBusy
                | Self::Open
                | Self::HeldBack { .. }
                | Self::NotLoaded
                | Self::Program(ProgramFailure::Busy, _)
        )
    }

    /// Returns the value of the label `outcome` in metrics.
    pub(crate) fn label(&self) -> &'static str {
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
            Self::Program(ProgramFailure::Busy, _) => "no_instance",
            Self::Program(ProgramFailure::Cpu, _) => "cpu",
            Self::Program(ProgramFailure::Error, _) => "error",
            Self::Program(ProgramFailure::Trap, _) => "trap",
            Self::NotLoaded => "not_loaded",
        }
    }
}

impl fmt::Display for OutboundError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => to.write_str("too many requests to the receiver are in progress"),
            Self::CallerBusy => to.write_str("too many requests of this caller are in progress"),
            Self::Open => to.write_str("the receiver failed repeatedly and gets no requests for a while"),
            Self::HeldBack { .. } => to.write_str(
                "the receiver failed repeatedly at this caller's requests; the caller must wait for a while",
            ),
            Self::Connect(error) => write!(to, "the receiver can't be reached: {}", chain(error)),
            Self::Broken(error) => write!(to, "the connection to the receiver broke: {}", chain(error)),
            Self::Timeout => to.write_str("the receiver did not answer in time"),
            Self::Status(status) => write!(to, "the receiver answered with status {status}"),
            Self::TooLarge(most) => write!(to, "the receiver's answer has more than {most} bytes"),
            Self::Program(_, text) => to.write_str(text),
            Self::NotLoaded => to.write_str("no version of this function file is loaded"),
        }
    }
}

impl Error for OutboundError {}

/// Returns the text of an error and of all its causes. The text of the outermost error alone does not say what failed.
fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

/// Converts the error of the HTTP client's builder. The builder fails, for example, on a machine without trusted
/// certificates.
pub(super) fn client_error(error: reqwest::Error) -> UnusableUrl {
    UnusableUrl::new(format!("can't be used on this machine: {}", chain(&error.without_url())))
}
