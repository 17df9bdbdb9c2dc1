//! Loads a configuration from its layers, and derives values from several settings.

use std::path::Path;
use std::time::Duration;

use super::layers::Values;
use super::{Config, ConfigError};

impl Config {
    /// Reads the defaults, then `file`, then the variables of `env` that begin with `PARLOR__`, and checks the
    /// result. Ignores all other variables. [`Self::warnings`] names the ignored variables that look like
    /// settings.
    ///
    /// # Errors
    /// Returns the first error: `file` can't be read, a key is unknown, or a value is invalid.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::of(Values::layered(file, env)?)
    }

    /// Loads the settings, and checks only the type and the range of each value. Does not run [`Config::check`], which
    /// checks keys, names and values that depend on each other. So a server may refuse to start with the loaded
    /// settings.
    ///
    /// # Errors
    /// A value can't be read, a key is unknown, or `file` can't be read.
    pub fn load_unchecked(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Ok(Self::read_all(Values::layered(file, env)?)?.0)
    }

    pub(super) fn of(given: Values) -> Result<Self, ConfigError> {
        let (config, values) = Self::read_all(given)?;
        config.check().map_err(|error| values.locate(error))?;
        Ok(config)
    }

    fn read_all(given: Values) -> Result<(Self, Values), ConfigError> {
        let mut values = given.clone();
        let config = Self::read(&mut values, given)?;
        values.all_read()?;
        Ok((config, values))
    }

    /// Returns the time after which a started action or function can no longer write to the database. It is the longest
    /// time that an action may run, plus the longest time of one database operation. The erasure of users and the
    /// clean-up of deleted rooms use this time.
    pub(crate) fn longest_action(&self) -> Duration {
        let actions = self.actions.values().filter_map(|limits| limits.timeout_ms);
        let actions = actions.map(|ms| Duration::from_millis(ms.into()));
        let functions = self
            .functions
            .values()
            .chain([&self.function_default])
            .map(|function| function.deadline(self.limits.handler));
        let longest = actions.chain(functions).fold(self.limits.handler, Duration::max);
        longest + self.mongodb.operation
    }
}
