//! The error of an invalid configuration.

use std::fmt;
use std::path::PathBuf;

use super::variable::variable;

/// The most characters of an invalid value that an error shows.
const MAX_SHOWN_CHARS: usize = 60;

/// An error of the configuration: the key, what is wrong with its value, and the source of the value. The error's
/// text has one line and never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    key: Option<String>,
    fault: String,
    source: Option<ValueSource>,
}

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ValueSource {
    /// The file `config/default.toml`, which is built into the binary.
    Default,
    /// A configuration file, and the number of the line, if it is known. The first line has the number 1.
    File(PathBuf, Option<usize>),
    /// The environment variable with this name.
    Env(String),
}

impl ConfigError {
    /// Creates an error about the value of `key`, such as `limits.batch`. [`at`](Self::at) adds the source.
    pub(crate) fn new(key: impl Into<String>, fault: impl Into<String>) -> Self {
        Self { key: Some(key.into()), fault: fault.into(), source: None }
    }

    /// Creates an error about a whole source, for example a file that is not TOML.
    pub(super) fn of_source(fault: impl Into<String>, source: ValueSource) -> Self {
        Self { key: None, fault: fault.into(), source: Some(source) }
    }

    /// Adds the source of the value.
    pub(super) fn at(self, source: ValueSource) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Returns the key in dotted form, such as `limits.batch`. Returns none if the error is about a whole source.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.source) {
            // The value comes from default.toml, so the operator has not set it. The error names the environment
            // variable that sets the key.
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

/// Returns an invalid value for an error text: in quotes, and cut to [`MAX_SHOWN_CHARS`]. Never call this
/// function with a secret.
pub(super) fn shown(value: &str) -> String {
    let mut chars = value.chars();
    let start: String = chars.by_ref().take(MAX_SHOWN_CHARS).collect();
    if chars.next().is_some() { format!("{start:?}...") } else { format!("{start:?}") }
}

/// Replaces line breaks in keys, paths and parser messages, so that an error is one line.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
