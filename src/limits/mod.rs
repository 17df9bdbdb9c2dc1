//! Bounds that count: rates, what a user has open, and permits.

pub(crate) mod permits;
pub(crate) mod rate;
pub(crate) mod user_quota;
