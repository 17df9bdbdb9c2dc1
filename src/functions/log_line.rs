//! The log lines of functions.

use std::fmt::Write as _;

use super::host_call::LogLevel;

/// Writes a line of a function to the server's log. Control characters are escaped, so that a function can't forge a
/// line. `request` is the id of the call.
pub(crate) fn write(level: LogLevel, function: &str, request: Option<&str>, text: &str) {
    let text = escaped(text);
    match level {
        LogLevel::Debug => tracing::debug!(function, request, "{text}"),
        LogLevel::Info => tracing::info!(function, request, "{text}"),
        LogLevel::Warn => tracing::warn!(function, request, "{text}"),
        LogLevel::Error => tracing::error!(function, request, "{text}"),
    }
}

/// Returns the text with its control characters escaped, as `\n` or `\u{7}`.
pub(crate) fn escaped(text: &str) -> String {
    let mut to = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() {
            // Writing to a String can't fail.
            let _ = write!(to, "{}", char.escape_default());
        } else {
            to.push(char);
        }
    }
    to
}
