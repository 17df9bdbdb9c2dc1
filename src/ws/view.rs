//! What a connection shows: one room, or all rooms of its user.

use std::sync::Arc;

use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::inbox_view::InboxView;
use super::room_view::RoomView;
use crate::actions::session_state::Caller;

/// What a socket makes of what happens.
pub(super) enum SocketView {
    /// In its one room.
    Room(RoomView),
    /// In all rooms of its user.
    Inbox(Box<InboxView>),
}

/// A socket that is in its room, or in all of its user's.
pub(super) struct Opened {
    pub(super) caller: Arc<Caller>,
    pub(super) view: SocketView,
    pub(super) first_frame: Utf8Bytes,
}
