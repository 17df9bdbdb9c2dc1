//! Splits a frame (a message that a client sends on its socket) into its fields. The frame must be a JSON object. A
//! field's value stays JSON text until an action decodes it.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{ClientId, Error};

/// The deepest nesting of objects and arrays that a frame may have.
const MAX_DEPTH: usize = 128;

/// The longest `ref`, in characters (docs/protocol.md, Actions).
const REF_CHARS: usize = 64;

/// The maximum length of serde's error text about a wrong value, in characters. A longer text is cut. The text repeats
/// the value, and the value can be long.
const FAULT_CHARS: usize = 200;

/// The fields of a frame, in the frame's order. If the frame repeats a field, this list repeats it too. Each value
/// serializes exactly as it arrived.
#[derive(Clone, Debug)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// An error: the frame is not JSON (RFC 8259), is nested too deeply, or is not an object.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Fields<'a> {
    /// Splits a frame into its fields.
    pub fn parse(frame: &'a str) -> Result<Self, Malformed> {
        struct FieldsVisitor;

        impl<'a> Visitor<'a> for FieldsVisitor {
            type Value = Vec<(Cow<'a, str>, &'a RawValue)>;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(4);
                while let Some((Key(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(fields)
            }
        }

        /// The name of a field. Borrows from the frame if the name contains no escapes.
        #[derive(Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

        if !well_formed(frame.as_bytes()) {
            return Err(Malformed);
        }
        let mut deserializer = serde_json::Deserializer::from_str(frame);
        let fields = deserializer.deserialize_map(FieldsVisitor).map_err(|_| Malformed)?;
        deserializer.end().map_err(|_| Malformed)?;
        Ok(Self(fields))
    }

    /// Returns the frame's `ref`, a text that the client chooses. The server's answer repeats the `ref`, so that the
    /// client recognizes the answer (docs/protocol.md, Actions).
    ///
    /// # Errors
    /// `invalid_request`: `ref` is not a string, is longer than 64 characters, contains U+0000, or is given twice.
    pub fn reference(&self) -> Result<Option<String>, Error> {
        let Some(json) = self.get("ref") else { return Ok(None) };
        self.once("ref")?;
        let text = serde_json::from_str(json).ok();
        let good = |text: &String| text.chars().count() <= REF_CHARS && !text.contains('\0');
        let fault = || {
            Error::invalid(format!("ref: must be a string of up to {REF_CHARS} characters, without U+0000"))
        };
        text.filter(good).map(Some).ok_or_else(fault)
    }

    /// Removes `ref` and `client_id` if their values are not valid. A Level 1 client (basic mode) may use these two
    /// names for its own purposes, because Level 1 does not define them. In a Level 1 frame they are unknown fields.
    /// The server ignores unknown fields, so it must not refuse the frame because of their values.
    #[must_use]
    pub fn of_level_1(mut self) -> Self {
        let client_id =
            self.get("client_id").is_none_or(|json| serde_json::from_str::<ClientId>(json).is_ok());
        let reference = self.reference().is_ok();
        let client_id = client_id && self.once("client_id").is_ok();
        self.0.retain(|(name, _)| match name.as_ref() {
            "ref" => reference,
            "client_id" => client_id,
            _ => true,
        });
        self
    }

    /// Returns the JSON of a field, or none if the frame doesn't have it. If the field is repeated, returns the first
    /// value.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.get())
    }

    /// Returns the text of a field, or none if its value is not a string. If the field is repeated, uses the first
    /// value.
    pub fn first_text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// Returns the names of all fields, in the frame's order. A repeated name is returned as often as the frame has
    /// it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    /// Checks that the frame has a field at most once.
    ///
    /// # Errors
    /// `invalid_request`: the field is repeated.
    pub fn once(&self, name: &str) -> Result<(), Error> {
        match self.0.iter().filter(|(field, _)| field == name).count() {
            0 | 1 => Ok(()),
            _ => Err(Error::invalid(format!("{name}: given twice"))),
        }
    }

    /// Decodes the fields into the request type `T`. Ignores fields that `T` doesn't have.
    ///
    /// # Errors
    /// `invalid_request`: a value has the wrong type or is out of range. The message names its field.
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        // Serde's error describes the wrong value but not its field. The wrong value belongs to the field that serde
        // read last.
        let current = Cell::new(None);
        let fields = self.0.iter().map(|(name, value)| {
            current.set(Some(name.as_ref()));
            (name.as_ref(), *value)
        });
        let map = MapDeserializer::<_, serde_json::Error>::new(fields);
        let request = T::deserialize(map).map_err(|error| (current.get(), error));
        request.map_err(|(field, error)| {
            let fault = error.to_string();
            // Serde adds a position (" at line 1 column 2"). The position counts from the start of the field's value
            // and not from the start of the frame, so it doesn't help the client.
            let fault = fault.split(" at line ").next().unwrap_or_default();
            let fault: String = fault.chars().take(FAULT_CHARS).collect();
            match field {
                Some(field) if !fault.contains("field `") => {
                    Error::invalid(format!("{}: {fault}", field.chars().take(64).collect::<String>()))
                }
                _ => Error::invalid(fault),
            }
        })
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Returns false if the frame is nested deeper than [`MAX_DEPTH`], or contains an escape of only one half of a UTF-16
/// surrogate pair. `serde_json` doesn't find these errors in a [`RawValue`], because a raw value is not decoded.
fn well_formed(frame: &[u8]) -> bool {
    let (mut depth, mut in_string, mut at) = (0_usize, false, 0);
    while let Some(&byte) = frame.get(at) {
        at += 1;
        match (in_string, byte) {
            (_, b'"') => in_string = !in_string,
            (true, b'\\') => {
                let Some(after) = escape(frame, at) else { return false };
                at = after;
            }
            (false, b'{' | b'[') => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return false;
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// Returns the position after an escape. `at` is the position after the backslash. Returns none if the escape is only
/// one half of a UTF-16 surrogate pair.
fn escape(frame: &[u8], at: usize) -> Option<usize> {
    if frame.get(at) != Some(&b'u') {
        return Some(at + 1);
    }
    match code_unit(frame, at + 1) {
        Some(0xD800..=0xDBFF) => {
            let low = frame.get(at + 5..at + 7) == Some(b"\\u")
                && matches!(code_unit(frame, at + 7), Some(0xDC00..=0xDFFF));
            low.then_some(at + 11)
        }
        Some(0xDC00..=0xDFFF) => None,
        _ => Some(at + 1),
    }
}

fn code_unit(frame: &[u8], at: usize) -> Option<u16> {
    let digits = std::str::from_utf8(frame.get(at..at + 4)?).ok()?;
    u16::from_str_radix(digits, 16).ok()
}
