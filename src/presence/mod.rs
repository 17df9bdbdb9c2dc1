//! Online and offline: the users that are connected to this server, and those of servers that died.

pub(crate) mod dead_servers;
pub(crate) mod tracker;
