//! The names of the environment variables that set configuration keys.

/// The prefix of the name of every variable that sets a configuration key.
pub(super) const PREFIX: &str = "PARLOR__";

/// The part of a variable's name that stands for the dot in a key.
pub(super) const DOT: &str = "__";

/// Returns the name of the variable that sets a key: `PARLOR__LIMITS__BATCH` for `limits.batch`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', DOT).to_uppercase())
}
