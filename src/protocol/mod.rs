//! The wire format that several layers share: close codes, cursors, ephemeral events and fields for one socket.

pub(crate) mod client_ip;
pub(crate) mod close;
pub(crate) mod cursor;
pub mod ephemeral;
pub(crate) mod fields;
pub(crate) mod json;
pub(crate) mod session_options;
