//! The limits whose use the server counts: rates, the sockets of each user, and permits for sockets and exports.

pub(crate) mod permits;
pub(crate) mod rate;
pub(crate) mod user_quota;
