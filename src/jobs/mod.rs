//! Background jobs. Each job finishes work that a request postponed, or that a dead server left unfinished.

pub(crate) mod revision_recovery;
pub(crate) mod room_cleanup;
pub(crate) mod user_erasure;
