//! `[auth.require]`: the claims that every token must have, with their values. The operator chooses the keys of this
//! section, because the keys are the names of claims.
//!
//! A string, number or boolean of a TOML file is stored as a text. So a file and an environment variable, whose value
//! is always a text, give the same result.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::{ConfigValue, Leaf, PREFIX, Values};
use crate::config::ConfigError;
use crate::config::error::ValueSource;

/// The prefix of this section's keys in a file. [`VARIABLES`] is the prefix in the environment, after `PARLOR__`.
const SECTION: &str = "auth.require.";
const VARIABLES: &str = "AUTH__REQUIRE__";

/// Claims that can't stand in this section, because Parlor already checks them by other rules.
const CHECKED: &[&str] = &["exp", "nbf", "iat", "iss", "aud"];

impl Values {
    /// Applies a key of a file if the key belongs to this section. Returns whether the key belongs to this section.
    pub(super) fn apply_required(
        &mut self,
        leaf: &Leaf<'_>,
        source: &ValueSource,
    ) -> Result<bool, ConfigError> {
        let key = leaf.key.as_str();
        if key == SECTION.trim_end_matches('.') {
            // A heading without keys has no effect.
            let fault = || ConfigError::new(key, "a section of keys, not a key itself").at(source.clone());
            return if leaf.value.is_table() { Ok(true) } else { Err(fault()) };
        }
        let Some(claim) = key.strip_prefix(SECTION) else { return Ok(false) };
        let text = match leaf.value {
            DeValue::String(text) => Some(text.clone().into_owned()),
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
            DeValue::Float(number) => Some(number.as_str().to_owned()),
            DeValue::Boolean(flag) => Some(flag.to_string()),
            _ => None,
        };
        let is_in_table = !claim.starts_with('"') && claim.contains('.');
        let text = text.filter(|_| !is_in_table).ok_or_else(|| {
            ConfigError::new(key, "takes a string, a number or a boolean").at(source.clone())
        })?;
        self.require(key.to_owned(), text, source.clone())?;
        Ok(true)
    }

    /// Applies an environment variable if the variable sets a key of this section. Returns whether the variable
    /// belongs to this section. The claim's name becomes lower case.
    pub(super) fn apply_required_variable(&mut self, name: &str, text: &str) -> Result<bool, ConfigError> {
        let claim = name.strip_prefix(PREFIX).and_then(|key| key.strip_prefix(VARIABLES));
        let Some(claim) = claim.filter(|claim| !claim.is_empty()) else { return Ok(false) };
        let key = format!("{SECTION}{}", claim.to_lowercase());
        self.require(key, text.to_owned(), ValueSource::Env(name.to_owned()))?;
        Ok(true)
    }

    fn require(&mut self, key: String, text: String, source: ValueSource) -> Result<(), ConfigError> {
        let fault = if CHECKED.contains(&claim(&key).as_str()) {
            Some(
                "has a check of its own in every token; see auth.issuer, auth.audience and auth.max_lifetime_seconds",
            )
        } else if text.is_empty() {
            Some("must say which value the claim has, or contains")
        } else {
            None
        };
        if let Some(fault) = fault {
            return Err(ConfigError::new(key, fault).at(source));
        }
        self.set(key, ConfigValue::Text(text), source);
        Ok(())
    }

    /// Takes the required claims and their expected values out of the layers.
    pub(in crate::config) fn required_claims(&mut self) -> BTreeMap<String, String> {
        let taken = self.values.extract_if(.., |key, _| key.starts_with(SECTION));
        let text = |(key, value): (String, ConfigValue)| match value {
            ConfigValue::Text(text) => Some((claim(&key), text)),
            ConfigValue::Number(_) | ConfigValue::List(_) => None,
        };
        taken.filter_map(text).collect()
    }
}

/// Returns the claim that a key names. If the claim contains a dot, `leaves` has quoted it, and this function removes
/// the quotes.
fn claim(key: &str) -> String {
    let claim = key.strip_prefix(SECTION).unwrap_or(key);
    serde_json::from_str(claim).ok().filter(|_| claim.starts_with('"')).unwrap_or_else(|| claim.to_owned())
}
