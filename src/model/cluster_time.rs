//! Cluster times (MongoDB's logical clock): the time of a commit in seconds, and a counter within the second.

use bson::Timestamp;

/// A time earlier than every commit.
pub(crate) const ZERO: Timestamp = Timestamp { time: 0, increment: 0 };

/// A time later than every commit.
pub(crate) const MAX: Timestamp = Timestamp { time: u32::MAX, increment: u32::MAX };
