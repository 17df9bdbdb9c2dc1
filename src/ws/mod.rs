//! One WebSocket connection: handshake, opening, reading, writing, closing.

pub(crate) mod close;
pub(crate) mod connection;
pub(crate) mod handshake;
pub(crate) mod inbox_view;
pub(crate) mod incoming;
mod liveness;
pub(crate) mod member_email;
pub(crate) mod open;
pub(crate) mod open_inbox;
pub(crate) mod raw_frame;
pub(crate) mod room_view;
pub(crate) mod serve;
pub(crate) mod services;
pub(crate) mod session;
pub(crate) mod user_sockets;
pub(crate) mod view;
pub(crate) mod write;
pub(crate) mod write_pace;
