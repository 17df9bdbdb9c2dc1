//! Background jobs. Each one finishes what a request or a crashed server has left to do.

pub(crate) mod revision_recovery;
pub(crate) mod room_cleanup;
pub(crate) mod user_erasure;
