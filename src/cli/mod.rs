//! The command line: one module per subcommand, and [`admin`] for requests to a running server.

pub(crate) mod admin;
pub(crate) mod check;
pub(crate) mod health;
pub(crate) mod room;
pub(crate) mod serve;
pub(crate) mod token;
