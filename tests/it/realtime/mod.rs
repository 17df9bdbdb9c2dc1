//! Events between servers: the change stream, presence and ephemeral events.

mod change_stream;
mod ephemeral_events;
mod presence;
mod several_servers;
