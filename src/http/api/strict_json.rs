//! Parses JSON without duplicate fields, and user ids in JSON.
//!
//! If an object has a field twice, a parser silently drops one of the values, and parsers differ in their choice.
//! Therefore Parlor refuses a body with a duplicate field. Parlor also refuses a socket's frame with a duplicate field.
//! Unknown fields are ignored.

use std::fmt;

use handlers::{MAX_ID, UserId};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Any JSON value without duplicate fields.
pub(super) struct StrictJson(pub(super) Value);

impl<'de> Deserialize<'de> for StrictJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = StrictJson;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("JSON")
            }

            fn visit_bool<E>(self, value: bool) -> Result<StrictJson, E> {
                Ok(StrictJson(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<StrictJson, E> {
                Ok(StrictJson(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<StrictJson, E> {
                Ok(StrictJson(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<StrictJson, E> {
                Ok(StrictJson(Number::from_f64(value).map_or(Value::Null, Value::Number)))
            }

            fn visit_str<E>(self, value: &str) -> Result<StrictJson, E> {
                Ok(StrictJson(value.into()))
            }

            fn visit_string<E>(self, value: String) -> Result<StrictJson, E> {
                Ok(StrictJson(value.into()))
            }

            fn visit_unit<E>(self) -> Result<StrictJson, E> {
                Ok(StrictJson(Value::Null))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<StrictJson, A::Error> {
                let mut list = Vec::new();
                while let Some(StrictJson(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(StrictJson(list.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<StrictJson, A::Error> {
                let mut map = Map::new();
                while let Some((name, StrictJson(value))) = fields.next_entry::<String, StrictJson>()? {
                    if map.contains_key(&name) {
                        return Err(A::Error::custom(DuplicateField(&name)));
                    }
                    map.insert(name, value);
                }
                Ok(StrictJson(map.into()))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// The error for a field that is given twice. The error text names the field.
struct DuplicateField<'a>(&'a str);

/// The beginning of the error text of [`DuplicateField`].
pub(super) const TWICE: &str = "given twice: ";

impl fmt::Display for DuplicateField<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{TWICE}{}", self.0)
    }
}

/// Decodes a user's id: an integer from 0 to [`MAX_ID`], or a string. Refuses any other number. Such a number, read as
/// a string, could be the id of a user whom the caller does not mean.
pub(super) fn user_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UserId, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if let Value::Number(number) = &value {
        let fits = number.as_u64().is_some_and(|number| i64::try_from(number).is_ok_and(|id| id <= MAX_ID));
        if !fits {
            return Err(D::Error::custom(format!(
                "a user's id as a number is an integer from 0 to {MAX_ID}"
            )));
        }
    }
    UserId::deserialize(value).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_given_twice_is_named() {
        let twice = |text: &str| {
            serde_json::from_str::<StrictJson>(text).map(|strict| strict.0).unwrap_err().to_string()
        };
        assert!(twice(r#"{"a":1,"a":1}"#).starts_with("given twice: a"));
        assert!(twice(r#"{"b":[{"a":1,"c":2,"a":null}]}"#).starts_with("given twice: a"));
        let text = r#"{"a":[1,-2,2.5,"x",true,null,{"a":{}}]}"#;
        assert_eq!(serde_json::from_str::<StrictJson>(text).unwrap().0.to_string(), text);
    }
}
