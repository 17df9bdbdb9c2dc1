//! Runs one frame of a client: envelope, limits, handler, answer.

pub(crate) mod admit;
pub(crate) mod bound_socket;
pub(crate) mod dispatcher;
pub(crate) mod envelope;
pub(crate) mod functions;
pub(crate) mod registry;
pub(crate) mod session_state;
