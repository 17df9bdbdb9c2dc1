//! Cursors, as clients send them back.

use bson::Timestamp;
use handlers::RoomId;

use crate::protocol::cursor::{InboxCursor, Position, RoomCursor, settled};

/// Reads the text of a cursor: of a room, of an inbox, or of a page of the API.
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
    // It advances from there, and is still a cursor.
    let room = RoomId::MIN;
    cursor.advance(
        room,
        Position { message: i64::MAX, revision: 0 },
        Timestamp { time: u32::MAX, increment: 1 },
    );
    assert_eq!(cursor.position(room).map(|position| position.message), Some(i64::MAX));
    assert!(cursor.to_string().parse::<InboxCursor>().is_ok());
}
