//! Background jobs. Each one finishes the work that a request or a crashed server has left.

pub(crate) mod revision_recovery;
pub(crate) mod room_cleanup;
pub(crate) mod user_erasure;
