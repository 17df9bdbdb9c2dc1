//! Cluster times: the database's own times of commits, as seconds and a counter within the second.

use bson::Timestamp;

/// Earlier than every commit.
pub(crate) const ZERO: Timestamp = Timestamp { time: 0, increment: 0 };

/// Later than every commit.
pub(crate) const MAX: Timestamp = Timestamp { time: u32::MAX, increment: u32::MAX };
