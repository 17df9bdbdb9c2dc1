//! Why the server doesn't start.

use std::fmt;
use std::path::PathBuf;

/// The most of a bad value that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 60;

/// A key, what is wrong with it, and where that stands. Shown on one line; never holds a secret's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    key: Option<String>,
    fault: String,
    source: Option<Source>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `config/default.toml`, as built in.
    Default,
    /// The given file, with the line where it is known, from 1.
    File(PathBuf, Option<usize>),
    /// A variable of the environment.
    Env(String),
}

impl ConfigError {
    /// A fault of the value of `key`, which is in dotted form.
    pub(crate) fn new(key: impl Into<String>, fault: impl Into<String>) -> Self {
        Self { key: Some(key.into()), fault: fault.into(), source: None }
    }

    /// A fault of a source as a whole.
    pub(super) fn of_source(fault: impl Into<String>, source: Source) -> Self {
        Self { key: None, fault: fault.into(), source: Some(source) }
    }

    /// Says where the value came from.
    pub(super) fn at(self, source: Source) -> Self {
        Self { source: Some(source), ..self }
    }

    /// The key at fault in dotted form, e.g. `limits.batch`; none where a source as a whole is.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.source) {
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

impl fmt::Display for Source {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => to.write_str("default.toml"),
            Self::File(path, None) => to.write_str(&one_line(&path.to_string_lossy())),
            Self::File(path, Some(line)) => write!(to, "{}, line {line}", one_line(&path.to_string_lossy())),
            Self::Env(name) => to.write_str(&one_line(name)),
        }
    }
}

/// A bad value as it is shown: quoted, cut short. Not for secrets.
pub(super) fn shown(value: &str) -> String {
    let mut chars = value.chars();
    let start: String = chars.by_ref().take(MAX_SHOWN_CHARS).collect();
    if chars.next().is_some() { format!("{start:?}...") } else { format!("{start:?}") }
}

/// Keys, paths and parsers' messages are others' texts: a line break among them must not make two lines of
/// one.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
