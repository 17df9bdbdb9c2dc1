//! Tests of what servers learn from each other: the change stream, presence, ephemeral events, and several servers on
//! one database.

mod change_stream;
mod ephemeral_events;
mod presence;
mod several_servers;
