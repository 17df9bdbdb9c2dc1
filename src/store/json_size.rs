//! Estimates the size of data as JSON, in bytes, before the data is encoded. The sizes of pages and first frames are
//! bounded in bytes.
//!
//! A bound for the number of messages would not be enough: one message of 4,096 characters U+0001 takes 24,576 bytes of
//! JSON.

use handlers::UserId;

use super::rooms::summary::RoomSummary;
use crate::model::message::StoredMessage;
use crate::model::room::StoredMember;

/// The bytes of a message's JSON without the text, the sender's id and the sender's e-mail address. These bytes are the
/// keys, the numbers and two times.
const MESSAGE: usize = 220;

/// The maximum bytes of a user's id in JSON. An id has up to 128 bytes. JSON may escape each byte with a second byte,
/// and adds two quotes.
const ID: usize = 258;

/// The assumed bytes of an e-mail address if the address is not known.
pub(super) const EMAIL: usize = 64;

/// The bytes of a member, without the id and the e-mail address.
const MEMBER: usize = 110;

/// The bytes of a room, without its members and its last message.
const ROOM: usize = 400;

/// Returns the bytes of a text in JSON, without the quotes.
pub(crate) fn of_text(text: &str) -> usize {
    text.bytes().map(of_byte).sum()
}

const fn of_byte(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0x00..0x20 => 6,
        _ => 1,
    }
}

/// Returns an upper bound of a message's bytes in JSON. `email` is the size of the longest e-mail address among the
/// room's members.
pub(super) fn of_message(message: &StoredMessage, email: usize) -> usize {
    of_text(&message.text) + of_user(&message.sender) + email + MESSAGE
}

/// Returns an upper bound of the bytes of a user's id in JSON.
pub(crate) fn of_user(user: &UserId) -> usize {
    match user {
        UserId::Int(_) => 20,
        UserId::Name(name) => (of_text(name) + 2).min(ID),
    }
}

/// Returns the bytes of the longest e-mail address of these members, or zero if no member has an e-mail address.
pub(super) fn of_longest_email(members: &[StoredMember]) -> usize {
    members.iter().filter_map(|member| member.email.as_deref()).map(of_text).max().unwrap_or_default()
}

/// Returns the approximate bytes in JSON of a room in a list of rooms.
pub(super) fn of_listed(listed: &RoomSummary) -> usize {
    let member =
        |member: &StoredMember| of_user(&member.user) + member.email.as_deref().map_or(0, of_text) + MEMBER;
    let members: usize = listed.members.iter().map(member).sum();
    let name = listed.room.name.as_deref().map_or(0, of_text);
    let last = listed.last.as_ref();
    let last = last.map_or(0, |last| of_message(last, of_longest_email(&listed.members)));
    ROOM + name + members + last
}

/// A budget of bytes. It accepts an item that fits into the remaining bytes. It always accepts the first item.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByteBudget {
    left: usize,
    taken: bool,
}

impl ByteBudget {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: bytes, taken: false }
    }

    /// Returns the bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Takes an item if it fits or is the first item. Returns whether it took the item.
    pub(super) fn takes(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.left || !self.taken;
        if fits {
            self.taken = true;
            self.left = self.left.saturating_sub(bytes);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_of_a_text_equals_its_encoded_bytes() {
        for text in
            ["", "plain", "\"quoted\\\"", "\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}", "日本語 \u{1F600}\u{2028}"]
        {
            assert_eq!(of_text(text) + 2, serde_json::to_string(text).unwrap().len(), "{text:?}");
        }
    }

    #[test]
    fn items_fit_until_the_bytes_are_used_except_the_first() {
        let mut fitting = ByteBudget::new(10);
        assert_eq!([4, 6, 1].map(|bytes| fitting.takes(bytes)), [true, true, false]);
        let mut fitting = ByteBudget::new(10);
        assert_eq!([11, 0, 1].map(|bytes| fitting.takes(bytes)), [true, true, false]);
    }
}
