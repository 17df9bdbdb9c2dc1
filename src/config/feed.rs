//! `[feed]`: the change stream of MongoDB, from which a server learns of all changes in the database.

use std::time::Duration;

use mongodb::options::{ReadPreference, SelectionCriteria};

use super::ConfigError;
use super::layers::Values;
use super::ranges::{FEED_MS, NumberRange};

/// Zero stands for the default: `heartbeat_ms` plus one second, but at most `stale_ms`.
const OVERDUE_MS: NumberRange = 0..=600_000;
/// The range of `feed.hanging`. A hanging call keeps a database connection and some memory until it ends. Therefore
/// the range ends at 100.
const HANGING: NumberRange = 1..=100;

/// `[feed]`
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// The interval at which the server writes its heartbeat, a document in the database. The server then
    /// receives this write from its change stream, and so knows that the stream works.
    pub heartbeat: Duration,
    /// If the server receives no heartbeat from its change stream for this long, the server's readiness probe fails.
    /// Must be longer than `heartbeat`.
    pub stale: Duration,
    /// If the server receives no heartbeat for this long, the change stream is overdue. Until the next heartbeat, the
    /// server reads the sender's membership from the database before it executes a frame. If heartbeats are written but
    /// do not arrive, the server also opens another stream. Must be longer than `heartbeat`, and at most `stale`.
    pub overdue: Duration,
    /// If the server receives no heartbeat for this long, the server closes all sockets. Must be longer than `overdue`.
    pub close: Duration,
    /// The highest number of hanging database calls at one time. If a call of the change stream hangs, the server opens
    /// another stream and no longer waits for the call.
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

impl From<ReadFrom> for SelectionCriteria {
    fn from(read_from: ReadFrom) -> Self {
        Self::ReadPreference(match read_from {
            ReadFrom::Primary => ReadPreference::Primary,
            ReadFrom::Secondary => ReadPreference::SecondaryPreferred { options: None },
        })
    }
}

/// The default of `overdue` is the heartbeat's interval plus this time, but at most `stale`.
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
