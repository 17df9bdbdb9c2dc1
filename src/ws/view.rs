//! The view of a connection: one room, or all rooms of its user.

use std::sync::Arc;

use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::inbox_view::InboxView;
use super::room_view::OneRoomView;
use crate::actions::session_state::SocketSession;

/// The view of a socket. It decides which texts the socket writes for the frames of its outbox.
pub(super) enum SocketView {
    /// One room.
    Room(OneRoomView),
    /// All rooms of the user: inbox mode.
    Inbox(Box<InboxView>),
}

/// An open socket in its room, or in all rooms of its user.
pub(super) struct Opened {
    pub(super) caller: Arc<SocketSession>,
    pub(super) view: SocketView,
    pub(super) first_frame: Utf8Bytes,
}
