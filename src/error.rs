//! The error that ends the start of a server.

use std::fmt;

/// The reason why a server can't start, in one line.
#[derive(Debug)]
pub struct StartError(String);

impl StartError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}
