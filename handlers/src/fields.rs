//! A frame, taken apart: valid JSON, an object, its fields not decoded yet.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{ClientId, Error};

/// The deepest nesting that a frame may have.
const MAX_DEPTH: usize = 128;

/// The longest `ref`, in characters (docs/protocol.md, Actions).
const REF_CHARS: usize = 64;

/// What is said of a value that can't be decoded, at most, in characters: the parser repeats a text as it is.
const FAULT_CHARS: usize = 200;

/// The fields of a frame in their order, repeated ones included. Written again as they came.
#[derive(Clone, Debug)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// The frame is not JSON by RFC 8259, nested too deeply, or not an object.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Fields<'a> {
    /// Takes a frame apart.
    pub fn parse(frame: &'a str) -> Result<Self, Malformed> {
        struct Object;

        impl<'a> Visitor<'a> for Object {
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

        /// A name is borrowed from the frame unless it is written with escapes.
        #[derive(Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

        if !well_formed(frame.as_bytes()) {
            return Err(Malformed);
        }
        let mut deserializer = serde_json::Deserializer::from_str(frame);
        let fields = deserializer.deserialize_map(Object).map_err(|_| Malformed)?;
        deserializer.end().map_err(|_| Malformed)?;
        Ok(Self(fields))
    }

    /// What the sender calls this frame (`ref`, docs/protocol.md, Actions), where it does: up to 64 characters.
    ///
    /// # Errors
    /// `invalid_request`, where it is anything else.
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

    /// Leaves out the fields of later levels that don't mean what they mean there: a client that knows Level 1 alone
    /// may call anything of its own by these names, and what it doesn't know is ignored.
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

    /// A field as it was written, where it is there; of a repeated field the first one.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.get())
    }

    /// The text of a field, where it is there and a string; of a repeated field the first one's.
    pub fn first_text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// The names of all fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    /// Holds a field to be given at most once.
    ///
    /// # Errors
    /// `invalid_request`, naming it.
    pub fn once(&self, name: &str) -> Result<(), Error> {
        match self.0.iter().filter(|(field, _)| field == name).count() {
            0 | 1 => Ok(()),
            _ => Err(Error::invalid(format!("{name}: given twice"))),
        }
    }

    /// Decodes a request. Fields it doesn't know are left aside.
    ///
    /// # Errors
    /// `invalid_request`, naming the field at fault.
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        // Serde says what is wrong with a value but not which field had it: that is the last one it was given.
        let current = Cell::new(None);
        let fields = self.0.iter().map(|(name, value)| {
            current.set(Some(name.as_ref()));
            (name.as_ref(), *value)
        });
        let map = MapDeserializer::<_, serde_json::Error>::new(fields);
        let request = T::deserialize(map).map_err(|error| (current.get(), error));
        request.map_err(|(field, error)| {
            let fault = error.to_string();
            // The position is one within the field's value, of no use to anyone.
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

/// What `serde_json` lets pass in the parts of a frame that nothing decodes: nesting deeper than
/// [`MAX_DEPTH`], and half of a surrogate pair written as an escape. All else it checks itself.
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

/// Where the escape ends whose backslash stands before `at`; none where it is half of a surrogate pair.
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
