//! The limits that are counted at runtime: rates, what each user has open, and permits.

pub(crate) mod permits;
pub(crate) mod rate;
pub(crate) mod user_quota;
