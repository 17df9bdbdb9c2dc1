//! The command line. The tests run the real program, and check its output, its errors and its exit codes.

mod check;
mod commands;
mod databases;
mod function;
mod health;
mod remote_commands;
mod secrets;
mod start_errors;
mod token;

/// The signing key of the servers that these tests configure.
const SECRET: &str = "a secret of the tests, at least 32 bytes long";
