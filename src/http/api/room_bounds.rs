//! The limits of rooms and of their members.

use crate::auth::MAX_EMAIL_BYTES;

/// The highest number of members of a room.
pub const MAX_MEMBERS: usize = 1_000;

/// The longest name of a room, in characters.
pub(super) const MAX_NAME_CHARS: usize = 200;

/// Checks the length and the characters of an e-mail address. The text must not be empty and must not contain control
/// characters. It need not have the form of an address.
pub(super) fn check_email(email: &str) -> Result<(), &'static str> {
    if email.is_empty() || email.len() > MAX_EMAIL_BYTES || email.chars().any(char::is_control) {
        return Err("an email is empty, too long, or has control characters");
    }
    Ok(())
}
