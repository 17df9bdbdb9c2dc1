//! How many bytes what is read takes as JSON, before it is encoded: pages and first frames are bounded by that.
//!
//! A number of messages bounds nothing: 4,096 characters of U+0001 are 24,576 bytes of JSON.

use handlers::UserId;

use super::rooms::summary::Listed;
use crate::model::message::StoredMessage;
use crate::model::room::StoredMember;

/// What a message takes beside its text and its sender's id and address: keys, numbers, two times.
const MESSAGE: usize = 220;

/// What an id takes at most: 128 bytes, each of which may be escaped by a second one.
const ID: usize = 258;

/// What an address takes where it is not known.
pub(super) const EMAIL: usize = 64;

/// What a member takes beside the id and the address.
const MEMBER: usize = 110;

/// What a room takes beside its members and its last message.
const ROOM: usize = 400;

/// Returns the bytes of a text within the quotes of JSON.
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

/// Returns about how many bytes a message takes, and never fewer than it does. `email` is what addresses of this room's
/// senders take at most.
pub(super) fn of_message(message: &StoredMessage, email: usize) -> usize {
    of_text(&message.text) + of_user(&message.sender) + email + MESSAGE
}

/// Returns how many bytes an id takes.
pub(crate) fn of_user(user: &UserId) -> usize {
    match user {
        UserId::Int(_) => 20,
        UserId::Name(name) => (of_text(name) + 2).min(ID),
    }
}

/// Returns what the longest address of these members takes.
pub(super) fn of_longest_email(members: &[StoredMember]) -> usize {
    members.iter().filter_map(|member| member.email.as_deref()).map(of_text).max().unwrap_or_default()
}

/// Returns about how many bytes a room takes in a list of rooms.
pub(super) fn of_listed(listed: &Listed) -> usize {
    let member =
        |member: &StoredMember| of_user(&member.user) + member.email.as_deref().map_or(0, of_text) + MEMBER;
    let members: usize = listed.members.iter().map(member).sum();
    let name = listed.room.name.as_deref().map_or(0, of_text);
    let last = listed.last.as_ref();
    let last = last.map_or(0, |last| of_message(last, of_longest_email(&listed.members)));
    ROOM + name + members + last
}

/// Takes items in their order as long as they fit, and at least one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fitting {
    left: usize,
    taken: bool,
}

impl Fitting {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: bytes, taken: false }
    }

    /// Returns how many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Whether an item of this many bytes is the first one, or fits.
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
    fn a_text_takes_what_its_encoding_does() {
        for text in
            ["", "plain", "\"quoted\\\"", "\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}", "日本語 \u{1F600}\u{2028}"]
        {
            assert_eq!(of_text(text) + 2, serde_json::to_string(text).unwrap().len(), "{text:?}");
        }
    }

    #[test]
    fn items_fit_until_the_bytes_are_used_and_one_always_does() {
        let mut fitting = Fitting::new(10);
        assert_eq!([4, 6, 1].map(|bytes| fitting.takes(bytes)), [true, true, false]);
        let mut fitting = Fitting::new(10);
        assert_eq!([11, 0, 1].map(|bytes| fitting.takes(bytes)), [true, true, false]);
    }
}
