//! Runs the frames of clients: reads the envelope, checks the limits, runs the handler, and returns the answer.

pub(crate) mod admit;
pub(crate) mod bound_socket;
pub(crate) mod dispatcher;
pub(crate) mod envelope;
pub(crate) mod functions;
pub(crate) mod registry;
pub(crate) mod session_state;
