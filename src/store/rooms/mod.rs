//! Rooms and their members in the database: creation, membership, lists and deletion.

pub(crate) mod activity_cache;
mod change;
pub(crate) mod changed_since;
pub(crate) mod consent;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod inbox;
pub(crate) mod inbox_page;
mod insertion;
pub(crate) mod list;
pub(crate) mod membership;
pub(crate) mod newest;
pub(crate) mod position;
pub(crate) mod room_view;
pub(crate) mod summary;
