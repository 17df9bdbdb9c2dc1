//! `[functions.<name>.env]`: the variables of a function. The operator chooses the keys of this section, because the
//! keys are the names of the variables.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::{ConfigValue, Leaf, PREFIX, Values};
use crate::config::error::ValueSource;
use crate::config::{ConfigError, Secret};

/// The name of the section, below the section of a function.
const ENV: &str = ".env.";

impl Values {
    /// Applies a key of a file if the key belongs to such a section. Returns whether it does.
    pub(super) fn apply_env(&mut self, leaf: &Leaf<'_>, source: &ValueSource) -> Result<bool, ConfigError> {
        let key = leaf.key.as_str();
        let Some(rest) = key.strip_prefix("functions.") else { return Ok(false) };
        if rest.split_once('.').is_some_and(|(_, last)| last == "env") && leaf.value.is_table() {
            // A heading without keys has no effect.
            return Ok(true);
        }
        let Some((_, variable)) = rest.split_once(ENV) else { return Ok(false) };
        self.open_section(key).map_err(|error| error.at(source.clone()))?;
        let text = match leaf.value {
            DeValue::String(text) if is_variable(variable) => text.clone().into_owned(),
            _ => {
                let fault = "takes a string, and a variable's name is of A-Z, a-z, 0-9 and _";
                return Err(ConfigError::new(key, fault).at(source.clone()));
            }
        };
        self.set(key.to_owned(), ConfigValue::Text(text), source.clone());
        Ok(true)
    }

    /// Applies an environment variable such as `PARLOR__FUNCTIONS__TRANSLATE__ENV__KEY`. Returns whether it is one.
    pub(super) fn apply_env_variable(&mut self, name: &str, text: &str) -> Result<bool, ConfigError> {
        let rest = name.strip_prefix(PREFIX).and_then(|key| key.strip_prefix("FUNCTIONS__"));
        let Some((function, variable)) = rest.and_then(|rest| rest.split_once("__ENV__")) else {
            return Ok(false);
        };
        let function = function.to_lowercase();
        if !is_variable(variable) || function.contains("__") {
            return Ok(false);
        }
        let source = ValueSource::Env(name.to_owned());
        let key = format!("functions.{function}{ENV}{variable}");
        self.open_section(&key).map_err(|error| error.at(source.clone()))?;
        self.set(key, ConfigValue::Text(text.to_owned()), source);
        Ok(true)
    }

    /// Takes the variables of the function that this section configures.
    pub(in crate::config) fn function_env(&mut self, section: &str) -> BTreeMap<String, Secret> {
        let prefix = format!("{section}{ENV}");
        let taken = self.values.extract_if(.., |key, _| key.starts_with(&prefix));
        let variable = |(key, value): (String, ConfigValue)| match value {
            ConfigValue::Text(text) => Some((key.strip_prefix(&prefix)?.to_owned(), Secret::new(text))),
            ConfigValue::Number(_) | ConfigValue::List(_) => None,
        };
        taken.filter_map(variable).collect()
    }
}

fn is_variable(name: &str) -> bool {
    let starts = |name: &str| name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    starts(name) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
