//! `[feed]`: the change stream, from which a server learns of all changes in the database.

use std::time::Duration;

use super::ConfigError;
use super::layers::Values;
use super::ranges::{FEED_MS, NumberRange};

/// Zero means a value that is derived from the heartbeat and `stale`.
const OVERDUE_MS: NumberRange = 0..=600_000;
/// Each hanging call keeps a database connection and some memory.
const HANGING: NumberRange = 1..=100;

/// `[feed]`
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// The interval at which the server writes its heartbeat, which then comes back through the change stream.
    pub heartbeat: Duration,
    /// If no heartbeat comes back for this long, the server is not ready. Longer than `heartbeat`.
    pub stale: Duration,
    /// If no heartbeat comes back for this long, the change stream is overdue. Longer than `heartbeat`, at most
    /// `stale`.
    pub overdue: Duration,
    /// If no heartbeat comes back for this long, the server closes all sockets. Longer than `overdue`.
    pub close: Duration,
    /// The most hanging calls of the database driver that the server leaves behind, instead of waiting for them.
    pub hanging: usize,
    /// The member of the replica set from which the change stream is read.
    pub read_from: ReadFrom,
}

/// `feed.read_from`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The primary member.
    Primary,
    /// A secondary member, or the primary if there is no secondary.
    Secondary,
}

/// The default of `overdue` is the heartbeat's interval plus this time.
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
