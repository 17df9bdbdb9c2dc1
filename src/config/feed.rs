//! `[feed]`: the change stream.

use std::time::Duration;

use super::ConfigError;
use super::layers::Values;
use super::ranges::{FEED_MS, NumberRange};

/// Zero is derived from the other settings.
const OVERDUE_MS: NumberRange = 0..=600_000;
/// Each holds a connection, and some memory.
const HANGING: NumberRange = 1..=100;

/// `[feed]`
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// The interval between two heartbeats.
    pub heartbeat: Duration,
    /// Without a heartbeat for this long the server is not ready; more than `heartbeat`.
    pub stale: Duration,
    /// Without a heartbeat for this long the stream is overdue; more than `heartbeat`, `stale` at most.
    pub overdue: Duration,
    /// Without a heartbeat for this long sockets are closed; more than `overdue`.
    pub close: Duration,
    /// The most hanging calls of the driver that are left behind.
    pub hanging: usize,
    /// The member that the change stream is read from.
    pub read_from: ReadFrom,
}

/// `feed.read_from`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The primary.
    Primary,
    /// A secondary, if there is one.
    Secondary,
}

/// By default, how long after a missed heartbeat the stream is overdue.
const HEARTBEAT_GRACE: Duration = Duration::from_secs(1);

impl FeedConfig {
    pub(super) fn read(values: &mut Values) -> Result<Self, ConfigError> {
        let heartbeat = values.millis("feed.heartbeat_ms", FEED_MS)?;
        let stale = values.millis("feed.stale_ms", FEED_MS)?;
        let overdue = values.millis("feed.overdue_ms", OVERDUE_MS)?;
        let by_default = (heartbeat + HEARTBEAT_GRACE).min(stale);
        Ok(Self {
            heartbeat,
            stale,
            overdue: if overdue.is_zero() { by_default } else { overdue },
            close: values.millis("feed.close_ms", FEED_MS)?,
            hanging: values.number("feed.hanging", HANGING)?,
            read_from: values.parsed(
                "feed.read_from",
                "\"primary\" or \"secondary\"",
                |text| match text {
                    "primary" => Some(ReadFrom::Primary),
                    "secondary" => Some(ReadFrom::Secondary),
                    _ => None,
                },
            )?,
        })
    }
}
