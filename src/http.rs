//! HTTP itself, before and after any handler: which requests are refused whatever they ask for, what becomes of a body that
//! nobody reads, and how files are served.

pub(crate) mod asset;
pub(crate) mod body;
pub(crate) mod head;
pub(crate) mod negotiation;
pub(crate) mod strict;
pub(crate) mod unread;
