//! The names of the environment variables that set keys.

/// The prefix of the variables.
pub(super) const PREFIX: &str = "PARLOR__";

/// Stands in a variable for the dot of a key.
pub(super) const DOT: &str = "__";

/// Returns the variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', DOT).to_uppercase())
}
