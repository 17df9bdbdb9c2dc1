//! Takes values out of the configuration's layers by their keys, and checks their types and ranges. Each value can
//! be taken once.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{ConfigValue, Values};
use crate::config::ConfigError;
use crate::config::error::{ValueSource, shown};

impl Values {
    /// Returns a warning about each environment variable that looks like a setting but is not read.
    pub(in crate::config) fn unread_variables(&self) -> &[String] {
        &self.unread_variables
    }

    /// Returns whether a key has its default, because neither the file nor the environment sets it.
    pub(in crate::config) fn is_default(&self, key: &str) -> bool {
        self.sources.get(key) == Some(&ValueSource::Default)
    }

    /// Takes a string.
    pub(in crate::config) fn text(&mut self, key: &str) -> Result<String, ConfigError> {
        match self.values.remove(key) {
            Some(ConfigValue::Text(text)) => Ok(text),
            _ => Err(ConfigError::new(key, "not a string of default.toml")),
        }
    }

    /// Takes a string. Returns none if the string is empty.
    pub(in crate::config) fn optional(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        Ok(Some(self.text(key)?).filter(|text| !text.is_empty()))
    }

    /// Takes a string and parses it. `takes` describes the valid values in an error's text. The error shows the
    /// invalid value, so this function must not be used for secrets.
    pub(in crate::config) fn parsed<T>(
        &mut self,
        key: &str,
        takes: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let text = self.text(key)?;
        parse(&text).ok_or_else(|| self.fault(key, format!("takes {takes}, which {} is not", shown(&text))))
    }

    /// Takes the path of a file or folder. A relative path is relative to the configuration file, or to the working
    /// directory if there is no configuration file. Returns none if the path is empty.
    pub(in crate::config) fn path_beside_file(&mut self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        let Some(path) = self.optional(key)? else { return Ok(None) };
        let beside = self.file.as_deref().and_then(Path::parent);
        Ok(Some(beside.map_or_else(|| PathBuf::from(&path), |folder| folder.join(&path))))
    }

    /// Takes a list of strings.
    pub(in crate::config) fn list(&mut self, key: &str) -> Result<Vec<String>, ConfigError> {
        match self.values.remove(key) {
            Some(ConfigValue::List(list)) => Ok(list),
            _ => Err(ConfigError::new(key, "not a list of default.toml")),
        }
    }

    /// Takes a number, and checks that it is within `bounds`.
    pub(in crate::config) fn number<T: TryFrom<u32>>(
        &mut self,
        key: &str,
        bounds: RangeInclusive<u32>,
    ) -> Result<T, ConfigError> {
        let Some(ConfigValue::Number(number)) = self.values.remove(key) else {
            return Err(ConfigError::new(key, "not a number of default.toml"));
        };
        let within = u32::try_from(number).ok().filter(|number| bounds.contains(number));
        within.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let (least, most) = bounds.into_inner();
            self.fault(key, format!("must be from {least} to {most}, which {number} is not"))
        })
    }

    /// Takes a number of milliseconds as a duration.
    pub(in crate::config) fn millis(
        &mut self,
        key: &str,
        bounds: RangeInclusive<u32>,
    ) -> Result<Duration, ConfigError> {
        self.number(key, bounds).map(Duration::from_millis)
    }

    /// Takes a number of seconds as a duration.
    pub(in crate::config) fn seconds(
        &mut self,
        key: &str,
        bounds: RangeInclusive<u32>,
    ) -> Result<Duration, ConfigError> {
        self.number(key, bounds).map(Duration::from_secs)
    }

    /// Returns an error about the value of `key`, with the value's source. Works also after the value was taken.
    pub(in crate::config) fn fault(&self, key: &str, fault: impl Into<String>) -> ConfigError {
        self.locate(ConfigError::new(key, fault))
    }

    /// If an error names a key, adds the source of the key's value to the error.
    pub(in crate::config) fn locate(&self, error: ConfigError) -> ConfigError {
        match error.key().and_then(|key| self.sources.get(key)).cloned() {
            Some(source) => error.at(source),
            None => error,
        }
    }

    /// Checks that every value was taken. Finds keys of `default.toml` that no code uses: an operator could set them
    /// without any effect.
    pub(in crate::config) fn all_read(&self) -> Result<(), ConfigError> {
        match self.values.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.fault(key, "nothing reads this key")),
        }
    }
}
