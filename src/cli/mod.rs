//! The command line.

pub(crate) mod admin;
