//! Sections whose names the operator chooses, such as `[functions.translate]`. `default.toml` has a template for
//! these sections, `[functions.<name>]`, in which [`NAME`] stands for the chosen name. Each section that a file or
//! the environment names gets the keys and defaults of the template.

use std::collections::{BTreeMap, BTreeSet};

use super::{ConfigValue, Values};
use crate::config::ConfigError;
use crate::config::error::ValueSource;
use crate::config::variable::{DOT, PREFIX, variable};

/// The placeholder for the chosen name in `default.toml`.
const NAME: &str = "<name>";

/// The longest name, in bytes. The name is also the value of `action` in a client's frame. An error frame repeats
/// at most 64 characters of this value, so a longer name would be cut.
const MAX_NAME_BYTES: usize = 64;

/// Removes the keys that contain the placeholder from the defaults, and returns these keys as the templates.
pub(super) fn take_templates(values: &mut BTreeMap<String, ConfigValue>) -> BTreeMap<String, ConfigValue> {
    values.extract_if(.., |key, _| key.split('.').nth(1) == Some(NAME)).collect()
}

impl Values {
    /// Returns the names that the operator has chosen in a section such as `functions`.
    pub(in crate::config) fn names(&self, section: &str) -> BTreeSet<String> {
        let of_section = |key: &String| {
            let (above, rest) = key.split_once('.')?;
            // A key without a further dot, such as `functions.folder`, is no section.
            let (name, _) = rest.split_once('.')?;
            (above == section).then(|| name.to_owned())
        };
        self.values.keys().filter_map(of_section).collect()
    }

    /// Creates the section of the key, with the defaults of the template. Does nothing if the section already exists.
    /// Also does nothing if the key belongs to no section with a chosen name.
    pub(super) fn open_section(&mut self, key: &str) -> Result<(), ConfigError> {
        let mut parts = key.split('.');
        let (Some(above), Some(name)) = (parts.next(), parts.next()) else { return Ok(()) };
        // A section can't have the name of a key of the section above it, such as `functions.folder`.
        if self.values.contains_key(&format!("{above}.{name}")) {
            return Ok(());
        }
        let template = format!("{above}.{NAME}.");
        let keys =
            self.templates.iter().filter_map(|(key, value)| Some((key.strip_prefix(&template)?, value)));
        let section: Vec<_> =
            keys.map(|(key, value)| (format!("{above}.{name}.{key}"), value.clone())).collect();
        if section.iter().any(|(key, _)| self.values.contains_key(key)) {
            return Ok(());
        }
        if !section.is_empty() && !is_name(name) {
            let fault = format!("a name is of a-z, 0-9 and single _ between them, {MAX_NAME_BYTES} at most");
            return Err(ConfigError::new(format!("{above}.{name}"), fault));
        }
        for (key, value) in section {
            self.sources.insert(key.clone(), ValueSource::Default);
            self.values.insert(key, value);
        }
        Ok(())
    }

    /// Creates a section whose name is empty, which no operator can choose. It has the defaults of the template.
    pub(in crate::config) fn open_unnamed(&mut self, above: &str) {
        let template = format!("{above}.{NAME}.");
        let keys =
            self.templates.iter().filter_map(|(key, value)| Some((key.strip_prefix(&template)?, value)));
        let section: Vec<_> = keys.map(|(key, value)| (format!("{above}..{key}"), value.clone())).collect();
        self.values.extend(section);
    }

    /// If an environment variable sets a key of a section with a chosen name, creates this section as
    /// [`open_section`](Self::open_section) does.
    pub(super) fn open_section_of_variable(&mut self, name: &str) -> Result<(), ConfigError> {
        let key = name.strip_prefix(PREFIX).unwrap_or_default().replace(DOT, ".").to_lowercase();
        let mut parts = key.splitn(3, '.');
        let (Some(above), Some(_), Some(last)) = (parts.next(), parts.next(), parts.next()) else {
            return Ok(());
        };
        let known = self.templates.contains_key(&format!("{above}.{NAME}.{last}"));
        if known && variable(&key) == name { self.open_section(&key) } else { Ok(()) }
    }
}

/// Returns whether a chosen name is valid. A name has no upper-case letters: environment variables are in upper
/// case, so they could not distinguish `Dice` from `dice`. A name has no double `_`, because a double `_` in a
/// variable separates the parts of a key.
fn is_name(name: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    name.len() <= MAX_NAME_BYTES && name.split('_').all(word)
}
