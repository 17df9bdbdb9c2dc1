//! The parts of a message: its text, its client id, its status and its times.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::fmt::StdFmtWrite;
use jiff::fmt::temporal::DateTimePrinter;
use schemars::JsonSchema;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::{Error, MessageId, UserId};

/// A text from a client. Its length is not checked against the configured limit yet. The text contains at least one
/// character that is not white space, and no U+0000.
#[derive(Debug)]
pub struct Draft(String);

impl Draft {
    /// Checks that the text has at most `limit` code points. `field` is the draft's name in the frame, for the error.
    ///
    /// # Errors
    /// `invalid_request`: the text has more than `limit` code points.
    pub fn within(self, limit: usize, field: &str) -> Result<Text, Error> {
        // Counting code points is slow. A text of at most `limit` bytes has at most `limit` code points, so it needs no
        // count.
        if self.0.len() > limit && self.0.chars().count() > limit {
            return Err(Error::invalid(format!("{field}: longer than {limit} characters")));
        }
        Ok(Text(self.0))
    }
}

impl<'de> Deserialize<'de> for Draft {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DraftVisitor;

        impl Visitor<'_> for DraftVisitor {
            type Value = Draft;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Draft, E> {
                self.visit_string(text.to_owned())
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Draft, E> {
                if text.trim().is_empty() {
                    return Err(E::custom("must hold more than white space"));
                }
                if text.contains('\0') {
                    return Err(E::custom("must not hold U+0000"));
                }
                Ok(Draft(text))
            }
        }

        deserializer.deserialize_string(DraftVisitor)
    }
}

/// The text of a message: from 1 code point up to the configured limit. The text contains at least one character that
/// is not white space, and no U+0000. Parlor stores it exactly as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id that a client gives to a message before the server has numbered the message: 1 to 64 characters. A client
/// uses a new id for each message. When the client repeats a message, it sends the message with the same id. The server
/// then stores the message only once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientId(String);

impl ClientId {
    /// The longest id, in characters.
    pub const MAX_CHARS: usize = 64;

    /// Returns the id.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        if id.is_empty() || id.chars().count() > Self::MAX_CHARS || id.contains('\0') {
            return Err(de::Error::custom(format!(
                "must have 1 to {} characters, without U+0000",
                Self::MAX_CHARS
            )));
        }
        Ok(Self(id))
    }
}

/// The status of a message: the lowest status over all members except the author. The status never falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The message is stored.
    Send,
    /// The message was written to a socket of each other member.
    Delivered,
    /// Each other member has read the message.
    Read,
}

/// A time in milliseconds since 1970 UTC. On the wire it is an RFC 3339 text with milliseconds and `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl Time {
    /// The first millisecond of the year 0 and the last one of the year 9999: RFC 3339 has four digits for a year.
    const WRITABLE: RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;
}

impl fmt::Display for Time {
    /// Writes the nearest time that RFC 3339 can express, because the database may hold any number.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
        let ms = self.0.clamp(*Self::WRITABLE.start(), *Self::WRITABLE.end());
        // jiff's `Timestamp` ends a day before the year 9999 does; its civil time does not.
        let utc = EPOCH.saturating_add(SignedDuration::from_millis(ms));
        PRINTER.print_datetime(&utc, StdFmtWrite(&mut *to)).map_err(|_| fmt::Error)?;
        to.write_str("Z")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A message in the form that events use.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Message {
    /// The text, exactly as it was sent.
    pub text: String,
    /// The number of the message in its room.
    pub message_id: MessageId,
    /// The author's id.
    pub sender_id: UserId,
    /// The status at the time of this frame.
    pub status: Status,
    /// The time at which the server stored the message, by the clock of the database.
    pub created_at: Time,
    /// The time of the last change of the text.
    pub updated_at: Time,
}

/// A message in the form that the history uses.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HistoryMessage<'a> {
    /// The number of the message in its room.
    pub message_id: MessageId,
    /// The text, exactly as it was sent.
    pub text: Cow<'a, str>,
    /// The author's id.
    pub sender_id: UserId,
    /// The author's e-mail address, if the room stores one for the author.
    pub sender_email: Option<Cow<'a, str>>,
    /// The status at the time of this frame.
    pub status: Status,
    /// The time at which the server stored the message, by the clock of the database.
    pub created_at: Time,
    /// The time of the last change of the text.
    pub updated_at: Time,
}

impl HistoryMessage<'_> {
    /// Copies the borrowed texts, so that the message can outlive the value from which it borrows.
    pub fn into_owned(self) -> HistoryMessage<'static> {
        HistoryMessage {
            text: self.text.into_owned().into(),
            sender_email: self.sender_email.map(|email| email.into_owned().into()),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Time;

    #[test]
    fn time_is_rfc_3339_with_milliseconds() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_739_903_332_258, "2025-02-18T18:28:52.258Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Time(ms).to_string(), text);
        }
    }

    #[test]
    fn time_outside_of_rfc_3339_is_the_nearest_one_inside() {
        for ms in [i64::MIN, -62_167_219_200_001] {
            assert_eq!(Time(ms).to_string(), "0000-01-01T00:00:00.000Z");
        }
        for ms in [i64::MAX, 253_402_300_800_000] {
            assert_eq!(Time(ms).to_string(), "9999-12-31T23:59:59.999Z");
        }
    }
}
