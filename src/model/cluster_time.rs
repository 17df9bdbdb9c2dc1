//! Cluster times (MongoDB's logical clock): the time of a commit in seconds, and a counter within the second.

use bson::Timestamp;

/// A time earlier than every commit. In a new document it is a placeholder. When the database inserts the document, it
/// replaces the placeholder by its cluster time.
pub(crate) const ZERO: Timestamp = Timestamp { time: 0, increment: 0 };

/// A time later than every commit.
pub(crate) const MAX: Timestamp = Timestamp { time: u32::MAX, increment: u32::MAX };
