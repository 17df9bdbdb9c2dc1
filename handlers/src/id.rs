//! The ids of rooms, messages and users. An id is checked once, when it is parsed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The greatest integer up to which JavaScript represents every integer exactly: 2^53 - 1
/// (`Number.MAX_SAFE_INTEGER`).
pub const MAX_ID: i64 = (1 << 53) - 1;

/// Declares an id that is an integer from 1 to [`MAX_ID`].
macro_rules! integer_id {
    ($(#[$attribute:meta])* $name:ident) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(i64);

        impl $name {
            /// The greatest id.
            pub const MAX: Self = Self(MAX_ID);

            /// Returns the id, 1 to [`MAX_ID`].
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = OutOfRange;

            fn try_from(id: i64) -> Result<Self, OutOfRange> {
                if (1..=MAX_ID).contains(&id) { Ok(Self(id)) } else { Err(OutOfRange) }
            }
        }

        impl FromStr for $name {
            type Err = OutOfRange;

            fn from_str(digits: &str) -> Result<Self, OutOfRange> {
                if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(OutOfRange);
                }
                digits.parse().map_err(|_| OutOfRange).and_then(|id: i64| Self::try_from(id))
            }
        }
    };
}

integer_id! {
    /// The number of a message in its room: 1, 2, 3, ...
    MessageId
}

integer_id! {
    /// The id of a room: a positive integer that JavaScript represents exactly.
    #[derive(Deserialize)]
    #[serde(try_from = "i64")]
    RoomId
}

impl RoomId {
    /// The lowest id of a room.
    pub const MIN: Self = Self(1);
}

impl fmt::Display for RoomId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}

/// Accepts a number or a string of digits. Some existing web pages send the id of the message to delete as a string.
impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MessageIdVisitor;

        impl Visitor<'_> for MessageIdVisitor {
            type Value = MessageId;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(to, "an integer from 1 to {MAX_ID}, or a string of its digits")
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<MessageId, E> {
                i64::try_from(n)
                    .map_err(|_| OutOfRange)
                    .and_then(MessageId::try_from)
                    .map_err(|_| E::invalid_value(Unexpected::Unsigned(n), &self))
            }

            fn visit_str<E: de::Error>(self, digits: &str) -> Result<MessageId, E> {
                digits.parse().map_err(|_| E::invalid_value(Unexpected::Other("this string"), &self))
            }
        }

        deserializer.deserialize_any(MessageIdVisitor)
    }
}

/// The id of a user, from the application's tokens.
///
/// A text of digits without a leading zero, up to [`MAX_ID`], becomes an integer. Any other text of 1 to
/// [`UserId::MAX_BYTES`] bytes without control characters is a string. So `7` and `"7"` are the same user, and `"007"`
/// is a different user. Integers sort before strings. By this order, every server lists the two users of a direct room
/// in the same way.
///
/// An id with a part `.` or `..` between slashes is refused, because the HTTP API has user ids in its paths. HTTP
/// clients and proxies resolve a `.` or `..` in a path, even if it is percent-encoded. The request would then reach
/// a different resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum UserId {
    /// A JSON number on the wire.
    Int(i64),
    /// A JSON string on the wire.
    #[serde(serialize_with = "as_str")]
    Name(Arc<str>),
}

fn as_str<S: Serializer>(name: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name)
}

impl UserId {
    /// The longest id that is a string, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 128;

    /// Parses an id that is stored in the database. Also accepts an id with a `.` or `..` part, which
    /// [`from_str`](Self::from_str) refuses. The database may contain a user with this kind of id. Parlor must still
    /// be able to load the user's rooms and to erase the user.
    pub fn from_stored(id: &str) -> Result<Self, OutOfRange> {
        let digits = id.bytes().all(|byte| byte.is_ascii_digit()) && (id == "0" || !id.starts_with('0'));
        if digits
            && let Ok(n) = id.parse::<i64>()
            && n <= MAX_ID
        {
            return Ok(Self::Int(n));
        }
        if id.is_empty() || id.len() > Self::MAX_BYTES || id.chars().any(char::is_control) {
            return Err(OutOfRange);
        }
        Ok(Self::Name(id.into()))
    }
}

impl FromStr for UserId {
    type Err = OutOfRange;

    fn from_str(id: &str) -> Result<Self, OutOfRange> {
        // Browsers treat a backslash in a URL as a slash.
        if id.split(['/', '\\']).any(|segment| matches!(segment, "." | "..")) {
            return Err(OutOfRange);
        }
        Self::from_stored(id)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => n.fmt(to),
            Self::Name(name) => to.write_str(name),
        }
    }
}

/// Accepts an integer or a string. A string of digits becomes an integer, as [`UserId`] describes. An integer outside 0
/// to [`MAX_ID`] becomes the string of its digits, as in a URL. All other values are refused.
impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UserIdVisitor;

        impl Visitor<'_> for UserIdVisitor {
            type Value = UserId;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a user's id: an integer, or a string of 1 to 128 bytes")
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<UserId, E> {
                self.visit_str(&n.to_string())
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<UserId, E> {
                self.visit_str(&n.to_string())
            }

            fn visit_str<E: de::Error>(self, id: &str) -> Result<UserId, E> {
                id.parse().map_err(|_| E::invalid_value(Unexpected::Other("this"), &self))
            }
        }

        deserializer.deserialize_any(UserIdVisitor)
    }
}

/// An error: the value is not an id of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange;

impl fmt::Display for OutOfRange {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("not an id of this kind")
    }
}

impl std::error::Error for OutOfRange {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_resolve_in_a_path_are_refused() {
        for id in [".", "..", "../7", "a/..", "a/./b", "..\\7", "/..", "../", "./"] {
            assert!(id.parse::<UserId>().is_err(), "{id}");
            assert!(serde_json::from_value::<UserId>(id.into()).is_err(), "{id}");
            assert_eq!(UserId::from_stored(id), Ok(UserId::Name(id.into())));
        }
        for id in ["...", ".a", "a..b", "user.", "auth0|7", "a/b", "a@b.example", "%2e%2e"] {
            assert_eq!(id.parse::<UserId>(), Ok(UserId::Name(id.into())));
        }
    }
}
