//! The server, as a running function sees it: the room of its call, its stored values, and the hosts that it may ask.

pub(crate) mod call_host;
pub(crate) mod fetch;
mod public_address;
pub(crate) mod room;
mod state;
