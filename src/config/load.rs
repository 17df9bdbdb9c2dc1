//! A configuration from its layers; and what follows from several of its settings together.

use std::path::Path;
use std::time::Duration;

use super::layers::Values;
use super::{Config, ConfigError};

impl Config {
    /// Reads the defaults, `file` over them, and of `env` the variables that begin with `PARLOR__`, and
    /// checks the whole. Of `env` all else is passed over.
    ///
    /// # Errors
    /// The first thing found wrong; also where `file` can't be read.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::of(Values::layered(file, env)?)
    }

    /// The same without the check of the whole: what the settings are, not whether a server can be started with them.
    ///
    /// # Errors
    /// A value can't be read, or a key is unknown; also where `file` can't be read.
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

    /// What an action, built in or of the application's own, writes it has written after so long, or never.
    pub(crate) fn action_over(&self) -> Duration {
        let actions = self.actions.values().filter_map(|limits| limits.timeout_ms);
        let actions = actions.map(|ms| Duration::from_millis(ms.into()));
        let functions = self.functions.values().map(|function| function.deadline(self.limits.handler));
        let longest = actions.chain(functions).fold(self.limits.handler, Duration::max);
        longest + self.mongodb.operation
    }
}
