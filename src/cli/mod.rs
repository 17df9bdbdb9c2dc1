//! The command line. Each subcommand has a module. [`admin`] has the commands that send requests to a running server.

pub(crate) mod admin;
pub(crate) mod check;
pub(crate) mod function;
pub(crate) mod health;
pub(crate) mod room;
pub(crate) mod serve;
pub(crate) mod token;

use handlers::UserId;

/// Parses a user's id. The error describes a valid id.
pub(crate) fn user_id(text: &str) -> Result<UserId, String> {
    text.parse().map_err(|_| {
        let most = UserId::MAX_BYTES;
        format!(
            "a user's id has 1 to {most} bytes, no control characters, and no `.` or `..` between slashes"
        )
    })
}
