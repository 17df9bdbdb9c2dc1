//! Stored values in memory, with the rules of the database.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::functions::host_call::{HostValue, StateEntry, StateOperation, StateScope, StateWrite};
use crate::functions::host_error::{HostCode, HostError};

/// The values of all scopes, with their versions.
#[derive(Debug, Default)]
pub(super) struct MemoryState {
    values: BTreeMap<(&'static str, String), (Value, u64)>,
    version: u64,
}

fn name(scope: StateScope) -> &'static str {
    match scope {
        StateScope::Room => "room",
        StateScope::User => "user",
        StateScope::Own => "own",
    }
}

impl MemoryState {
    /// Reads values such as `{"room":{"tea":1}}`.
    pub(super) fn read(given: &Value) -> Result<Self, String> {
        let mut state = Self::default();
        for (scope, values) in given.as_object().into_iter().flatten() {
            let scope = ["room", "user", "own"].into_iter().find(|known| known == scope);
            let scope = scope.ok_or("state: the scopes are room, user and own")?;
            for (key, value) in values.as_object().ok_or("state: a scope is an object of values")? {
                state.version += 1;
                state.values.insert((scope, key.clone()), (value.clone(), state.version));
            }
        }
        Ok(state)
    }

    /// Returns the values in the form of [`read`](Self::read).
    pub(super) fn to_json(&self) -> Value {
        let mut scopes = Map::new();
        for ((scope, key), (value, _)) in &self.values {
            let scope = scopes.entry(*scope).or_insert_with(|| Value::Object(Map::new()));
            scope[key] = value.clone();
        }
        Value::Object(scopes)
    }

    pub(super) fn run(
        &mut self,
        scope: StateScope,
        operation: StateOperation,
    ) -> Result<HostValue, HostError> {
        let scope = name(scope);
        Ok(match operation {
            StateOperation::Get { key } => {
                let found = self.values.get(&(scope, key));
                let entry = |(value, version): &(Value, u64)| StateEntry {
                    value: value.to_string(),
                    version: *version,
                };
                HostValue::Entry(found.map(entry))
            }
            StateOperation::Set { key, write } => HostValue::Version(self.write(scope, key, &write)?),
            StateOperation::Swap { key, version, write } => {
                let stored = self.values.get(&(scope, key.clone())).map_or(0, |(_, version)| *version);
                let is_due = stored == version;
                HostValue::Swapped(is_due.then(|| self.write(scope, key, &write)).transpose()?)
            }
            StateOperation::Add { key, amount, .. } => {
                let stored =
                    self.values.get(&(scope, key.clone())).map_or(Some(0), |(value, _)| value.as_i64());
                let invalid = |fault: &str| HostError::new(HostCode::InvalidRequest, fault);
                let stored = stored.ok_or_else(|| invalid("the stored value is not a whole number"))?;
                let sum = stored.checked_add(amount).ok_or_else(|| invalid("the number is too large"))?;
                self.version += 1;
                self.values.insert((scope, key), (sum.into(), self.version));
                HostValue::Number(sum)
            }
            StateOperation::Delete { key } => HostValue::Deleted(self.values.remove(&(scope, key)).is_some()),
            StateOperation::Keys { prefix, after, limit } => {
                let keys = self.values.keys().filter(|(of, key)| *of == scope && key.starts_with(&prefix));
                let keys = keys
                    .map(|(_, key)| key.clone())
                    .filter(|key| after.as_ref().is_none_or(|after| key > after));
                HostValue::Keys(keys.take(limit as usize).collect())
            }
        })
    }

    fn write(&mut self, scope: &'static str, key: String, write: &StateWrite) -> Result<u64, HostError> {
        let value = serde_json::from_str(&write.value)
            .map_err(|error| HostError::new(HostCode::InvalidRequest, error.to_string()))?;
        self.version += 1;
        self.values.insert((scope, key), (value, self.version));
        Ok(self.version)
    }
}
