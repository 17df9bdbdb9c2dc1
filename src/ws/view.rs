//! What a connection shows: one room, or all rooms of its user.

use std::sync::Arc;

use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::inbox_view::AllRooms;
use super::room_view::OneRoom;
use crate::actions::session_state::Caller;

/// What a socket makes of what happens.
pub(super) enum View {
    /// In its one room.
    Room(OneRoom),
    /// In all rooms of its user.
    Inbox(Box<AllRooms>),
}

/// A socket that is in its room, or in all of its user's.
pub(super) struct Opened {
    pub(super) caller: Arc<Caller>,
    pub(super) view: View,
    pub(super) first_frame: Utf8Bytes,
}
