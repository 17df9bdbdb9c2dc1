//! Receipt markers: their journal in the database, their copy in memory that is merged into reads, and unread counts.

pub(crate) mod journal;
pub(crate) mod overlay;
pub(crate) mod unread;
pub(crate) mod writer;
