//! Fuzzes the parsers of cursors. A cursor is a text that the server creates and a client sends back, so the
//! client can change it.

use bson::Timestamp;
use handlers::RoomId;

use crate::protocol::cursor::{InboxCursor, Position, RoomCursor, settled};

/// Parses a text as each kind of cursor. The kinds are the cursors of rooms, of inbox connections, and of pages of the
/// API's room list.
pub fn cursors(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    cursor(text);
    crate::http::api::fuzz::page(text);
}

pub(super) fn cursor(text: &str) {
    if let Ok(cursor) = text.parse::<RoomCursor>() {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        assert!(cursor.position.message >= 0 && cursor.position.revision >= 0);
    }
    let Ok(mut cursor) = text.parse::<InboxCursor>() else { return };
    assert_eq!(cursor.to_string().parse().as_ref(), Ok(&cursor));
    let then = cursor.settled();
    assert_eq!(settled(then).increment, then.increment);
    // Checks that the cursor can advance to a new position, and that the text of the advanced cursor can be
    // parsed.
    let room = RoomId::MIN;
    cursor.advance(
        room,
        Position { message: i64::MAX, revision: 0 },
        Timestamp { time: u32::MAX, increment: 1 },
    );
    assert_eq!(cursor.position(room).map(|position| position.message), Some(i64::MAX));
    assert!(cursor.to_string().parse::<InboxCursor>().is_ok());
}
