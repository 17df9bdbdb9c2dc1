//! The limits that are counted at runtime: rates, the sockets of each user, and permits.

pub(crate) mod permits;
pub(crate) mod rate;
pub(crate) mod user_quota;
