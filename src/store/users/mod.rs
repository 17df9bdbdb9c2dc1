//! Users in the database: presence, contacts, export and erasure.

pub(crate) mod contacts;
pub(crate) mod erase;
pub(crate) mod erasing;
pub(crate) mod export;
pub(crate) mod presence;
