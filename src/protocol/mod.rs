//! The parts of the wire format that several layers share, such as close codes, cursors and ephemeral events.

pub(crate) mod client_ip;
pub(crate) mod close;
pub(crate) mod cursor;
pub mod ephemeral;
pub(crate) mod fields;
pub(crate) mod json;
pub(crate) mod session_options;
