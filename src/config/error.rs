//! Errors of the configuration.

use std::fmt;
use std::path::PathBuf;

use super::variable::variable;

/// The longest part of an invalid value that an error shows, in characters.
const MAX_SHOWN_CHARS: usize = 60;

/// An error of the configuration: the key, the error of its value, and the source of the value. Shown on one line.
/// Never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    key: Option<String>,
    fault: String,
    source: Option<ValueSource>,
}

/// The place where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ValueSource {
    /// `config/default.toml`, which is built in.
    Default,
    /// The given file, and the line if it is known, counted from 1.
    File(PathBuf, Option<usize>),
    /// An environment variable.
    Env(String),
}

impl ConfigError {
    /// Creates the error of the value of `key`, which is in dotted form.
    pub(crate) fn new(key: impl Into<String>, fault: impl Into<String>) -> Self {
        Self { key: Some(key.into()), fault: fault.into(), source: None }
    }

    /// Creates an error of a whole source, such as a file.
    pub(super) fn of_source(fault: impl Into<String>, source: ValueSource) -> Self {
        Self { key: None, fault: fault.into(), source: Some(source) }
    }

    /// Adds the source of the value.
    pub(super) fn at(self, source: ValueSource) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Returns the key in dotted form, e.g. `limits.batch`. None: the error is about a whole source.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.source) {
            // The value is missing. The variable shows how to give one.
            (Some(key), Some(ValueSource::Default)) => {
                write!(
                    to,
                    "{}: {} (default.toml; set {})",
                    one_line(key),
                    one_line(&self.fault),
                    variable(key)
                )
            }
            (Some(key), Some(source)) => {
                write!(to, "{}: {} ({source})", one_line(key), one_line(&self.fault))
            }
            (Some(key), None) => write!(to, "{}: {}", one_line(key), one_line(&self.fault)),
            (None, Some(source)) => write!(to, "{source}: {}", one_line(&self.fault)),
            (None, None) => to.write_str(&one_line(&self.fault)),
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ValueSource {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => to.write_str("default.toml"),
            Self::File(path, None) => to.write_str(&one_line(&path.to_string_lossy())),
            Self::File(path, Some(line)) => write!(to, "{}, line {line}", one_line(&path.to_string_lossy())),
            Self::Env(name) => to.write_str(&one_line(name)),
        }
    }
}

/// Returns an invalid value for an error text: quoted and cut. Must not be used for secrets.
pub(super) fn shown(value: &str) -> String {
    let mut chars = value.chars();
    let start: String = chars.by_ref().take(MAX_SHOWN_CHARS).collect();
    if chars.next().is_some() { format!("{start:?}...") } else { format!("{start:?}") }
}

/// Replaces line breaks in keys, paths and parser messages, so that an error is one line.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
