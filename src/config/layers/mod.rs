//! The layers of the configuration: `default.toml`, then a file, then the environment. The valid keys are the keys of
//! `default.toml` and the limits that actions declare. A file and the environment can change the values of valid
//! keys, but can't add other keys.

mod function_env;
pub(crate) mod named_sections;
pub(crate) mod required;
mod take;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use handlers::{ACTIONS, Action, Limits};
use toml::de::{DeTable, DeValue};

use super::error::{ValueSource, shown};
use super::file::{FileKind, TrustedFile};
use super::variable::{DOT, PREFIX, variable};
use super::{ConfigError, unread_variables};

/// The content of `default.toml`: every key with its default.
const DEFAULTS: &str = include_str!("../../../config/default.toml");

/// The types of a value in `default.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ConfigValue {
    Text(String),
    Number(i64),
    List(Vec<String>),
}

/// All values and their sources, by dotted key. Each value can be taken out once ([`take`]). `Debug` shows no values,
/// because some values are secrets.
#[derive(Clone)]
#[expect(clippy::struct_field_names, reason = "they are what it is named for, beside what belongs to them")]
pub(super) struct Values {
    values: BTreeMap<String, ConfigValue>,
    /// The keys and defaults of sections whose names the operator chooses. In these keys, `<name>` stands for the
    /// chosen name.
    templates: BTreeMap<String, ConfigValue>,
    sources: BTreeMap<String, ValueSource>,
    /// A warning about each environment variable that looks like a setting but is not read.
    unread_variables: Vec<String>,
    /// The configuration file.
    file: Option<PathBuf>,
}

impl fmt::Debug for Values {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Values(..)")
    }
}

impl Values {
    /// Reads all layers. `file` overrides the defaults. `env` overrides the file and the defaults.
    pub(super) fn layered(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut values = Self::defaults()?;
        if let Some(path) = file {
            values.file = Some(path.to_owned());
            values.apply_file(path, &read(path)?)?;
        }
        for (name, text) in env {
            if name.starts_with(PREFIX) {
                values.apply_variable(name, &text)?;
            } else if let Some(warning) = unread_variables::warning(&name, values.values.keys()) {
                values.unread_variables.push(warning);
            }
        }
        Ok(values)
    }

    fn defaults() -> Result<Self, ConfigError> {
        let fault = |fault: &str| ConfigError::of_source(fault, ValueSource::Default);
        let table = DeTable::parse(DEFAULTS).map_err(|error| fault(error.message()))?;
        let mut values = BTreeMap::new();
        // A table without keys, such as `[auth.require]`, is a section whose keys the operator chooses.
        for leaf in leaves(table.get_ref()).into_iter().filter(|leaf| !leaf.value.is_table()) {
            let value =
                ConfigValue::of(leaf.value).ok_or_else(|| fault("a key of a type that isn't known"))?;
            values.insert(leaf.key, value);
        }
        let templates = named_sections::take_templates(&mut values);
        values.extend(ACTIONS.iter().flat_map(of_action));
        let sources = values.keys().map(|key| (key.clone(), ValueSource::Default)).collect();
        Ok(Self { values, templates, sources, unread_variables: Vec::new(), file: None })
    }

    fn apply_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let source =
            |offset: Option<usize>| ValueSource::File(path.to_owned(), offset.map(|at| line(text, at)));
        // The error shows the parser's message, but not the line of the file, because the line may contain a secret.
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map(|span| span.start);
            ConfigError::of_source(format!("not TOML: {}", error.message()), source(at))
        })?;
        for leaf in leaves(table.get_ref()) {
            self.apply_leaf(&leaf, source(Some(leaf.offset)))?;
        }
        Ok(())
    }

    fn apply_leaf(&mut self, leaf: &Leaf<'_>, source: ValueSource) -> Result<(), ConfigError> {
        let key = leaf.key.as_str();
        if self.apply_required(leaf, &source)? || self.apply_env(leaf, &source)? {
            return Ok(());
        }
        self.open_section(key).map_err(|error| error.at(source.clone()))?;
        let Some(default) = self.values.get(key) else {
            return match (self.is_section(key), self.above(key)) {
                // A section's heading without keys is allowed and has no effect.
                (true, _) if leaf.value.is_table() => Ok(()),
                (true, _) => Err(ConfigError::new(key, "a section of keys, not a key itself").at(source)),
                (false, Some((above, kind))) => {
                    Err(ConfigError::new(above, format!("takes {kind}, not a table")).at(source))
                }
                (false, None) => Err(ConfigError::new(key, "no such key").at(source)),
            };
        };
        let value =
            ConfigValue::of(leaf.value).filter(|value| value.kind() == default.kind()).ok_or_else(|| {
                let (kind, given) = (default.kind(), leaf.value.type_str());
                // `kind` and `given` may name the same type. Then the value is a number that is out of range, or a list
                // with values that are not strings.
                let fault = format!("takes {kind}, which this {given} is not");
                ConfigError::new(key, fault).at(source.clone())
            })?;
        self.set(key.to_owned(), value, source);
        Ok(())
    }

    fn apply_variable(&mut self, name: String, text: &str) -> Result<(), ConfigError> {
        // A variable may start with a byte order mark, if a shell has read its value from a file.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if self.apply_required_variable(&name, text)? || self.apply_env_variable(&name, text)? {
            return Ok(());
        }
        self.open_section_of_variable(&name).map_err(|error| error.at(ValueSource::Env(name.clone())))?;
        let Some(key) = self.values.keys().find(|key| variable(key) == name).cloned() else {
            let named = name.strip_prefix(PREFIX).unwrap_or_default().replace(DOT, ".").to_lowercase();
            return Err(ConfigError::new(named, "no such key").at(ValueSource::Env(name)));
        };
        let value = match self.values.get(&key) {
            Some(ConfigValue::Number(_)) => ConfigValue::Number(text.trim().parse().map_err(|_| {
                ConfigError::new(&key, format!("takes a whole number, which {} is not", shown(text)))
                    .at(ValueSource::Env(name.clone()))
            })?),
            Some(ConfigValue::List(_)) if text.trim().is_empty() => ConfigValue::List(Vec::new()),
            Some(ConfigValue::List(_)) => {
                ConfigValue::List(text.split(',').map(|item| item.trim().to_owned()).collect())
            }
            Some(ConfigValue::Text(_)) | None => ConfigValue::Text(text.to_owned()),
        };
        self.set(key, value, ValueSource::Env(name));
        Ok(())
    }

    fn set(&mut self, key: String, value: ConfigValue, source: ValueSource) {
        self.values.insert(key.clone(), value);
        self.sources.insert(key, source);
    }

    fn is_section(&self, key: &str) -> bool {
        self.values
            .keys()
            .chain(self.templates.keys())
            .any(|known| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
    }

    /// Returns the known key that is a prefix of `key` (`listen` for `listen.port`), and the type of its value.
    fn above(&self, key: &str) -> Option<(&str, &'static str)> {
        let above = |known: &str| key.strip_prefix(known).is_some_and(|rest| rest.starts_with('.'));
        self.values
            .iter()
            .find(|(known, _)| above(known))
            .map(|(known, value)| (known.as_str(), value.kind()))
    }

    /// Returns the keys whose values differ between these values and `other`.
    pub(super) fn changed_keys(&self, other: &Self) -> BTreeSet<String> {
        let keys = self.values.keys().chain(other.values.keys());
        keys.filter(|key| self.values.get(*key) != other.values.get(*key)).cloned().collect()
    }

    /// Copies the value of a key, and the value's source, from `other`. Removes the key if `other` doesn't have it.
    pub(super) fn copy_key(&mut self, key: &str, other: &Self) {
        if let (Some(value), Some(source)) = (other.values.get(key), other.sources.get(key)) {
            self.set(key.to_owned(), value.clone(), source.clone());
        } else {
            self.values.remove(key);
            self.sources.remove(key);
        }
    }
}

impl ConfigValue {
    fn of(value: &DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::String(text) => Some(Self::Text(text.clone().into_owned())),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).ok().map(Self::Number)
            }
            DeValue::Array(items) => {
                let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
                texts.collect::<Option<_>>().map(Self::List)
            }
            _ => None,
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Number(_) => "a whole number",
            Self::List(_) => "a list of strings",
        }
    }
}

/// Returns the five keys of an action, such as `actions.send.burst`, with the limits that the action's `SPEC`
/// declares. The value is zero if the action doesn't declare this limit.
fn of_action(action: &Action) -> [(String, ConfigValue); 5] {
    let Limits { per_minute, burst, max_bytes, timeout_ms, max_in_flight, .. } = action.spec.limits;
    let or_zero = |number: Option<u32>| number.map_or(0, i64::from);
    let bytes = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    [
        ("per_minute", or_zero(per_minute)),
        ("burst", or_zero(burst)),
        ("max_bytes", max_bytes.map_or(0, bytes)),
        ("timeout_ms", or_zero(timeout_ms)),
        ("max_in_flight", bytes(max_in_flight)),
    ]
    .map(|(key, number)| (format!("actions.{}.{key}", action.name), ConfigValue::Number(number)))
}

/// A key of a TOML text with its value. The value is not a table, or is an empty table.
struct Leaf<'a> {
    key: String,
    offset: usize,
    value: &'a DeValue<'a>,
}

fn leaves<'a>(table: &'a DeTable<'a>) -> Vec<Leaf<'a>> {
    let mut found = Vec::new();
    for (name, value) in table {
        let (offset, value) = (name.span().start, value.get_ref());
        // A quoted name may contain a dot. The quotes are kept, so that this dot does not look like the separator of
        // two names.
        let key = match name.get_ref() {
            odd if odd.is_empty() || odd.contains('.') => format!("{odd:?}"),
            name => name.to_string(),
        };
        match value.as_table().filter(|table| !table.is_empty()) {
            None => found.push(Leaf { key, offset, value }),
            Some(table) => found.extend(
                leaves(table).into_iter().map(|leaf| Leaf { key: format!("{key}.{}", leaf.key), ..leaf }),
            ),
        }
    }
    found
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let read = TrustedFile::read(path, FileKind::Settings).and_then(TrustedFile::into_text);
    read.map_err(|fault| ConfigError::of_source(fault, ValueSource::File(path.to_owned(), None)))
}

/// Returns the number of the line at a byte offset, counted from 1.
fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
