//! Presence: which users are connected to this server, and the clean-up after dead servers.

pub(crate) mod dead_servers;
pub(crate) mod tracker;
