//! The view of a socket: one room, or all rooms of its user.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::inbox_view::InboxView;
use super::room_view::OneRoomView;
use crate::actions::session_state::SocketSession;
use crate::protocol::close::Close;
use crate::realtime::frame::Frame;
use crate::store::Receipts;

/// The view of a socket. It decides which texts the socket writes for the frames of its outbox.
pub(super) enum SocketView {
    /// One room.
    Room(OneRoomView),
    /// All rooms of the user: inbox mode.
    Inbox(Box<InboxView>),
}

/// The result of opening a socket: its session, its view and its first frame.
pub(super) struct Opened {
    pub(super) caller: Arc<SocketSession>,
    pub(super) view: SocketView,
    pub(super) first_frame: Utf8Bytes,
}

impl SocketView {
    /// Returns the texts that the socket writes for a frame. The first text is the event. The second text is a
    /// consequence of the event, for example a new unread count. `behind` contains the later frames in the queue.
    pub(super) async fn take(
        &mut self,
        frame: &Frame,
        behind: &VecDeque<Arc<Frame>>,
        caller: &SocketSession,
    ) -> Result<(Option<Utf8Bytes>, Option<Utf8Bytes>), Close> {
        match self {
            Self::Room(view) => Ok((view.take(frame, caller)?, None)),
            Self::Inbox(view) => {
                let taken = tokio::time::timeout(caller.until_expiry(), view.take(frame, behind)).await;
                taken.map_err(|_| Close::Expired)?
            }
        }
    }

    /// Records that a frame was written to the socket.
    pub(super) fn wrote(&mut self, frame: &Frame, caller: &SocketSession) {
        match self {
            Self::Room(view) => view.wrote(frame, caller),
            Self::Inbox(view) => view.wrote(frame),
        }
    }

    /// Queues the receipt markers of the messages that were written to the socket.
    pub(super) fn flush_receipts(&mut self, receipts: &Receipts, caller: &SocketSession) {
        match self {
            Self::Room(view) => view.flush_receipts(receipts, caller),
            Self::Inbox(view) => view.flush_receipts(),
        }
    }

    /// Records that the client's last frame was answered. `done` tells whether the answer was written and is not an
    /// error.
    pub(super) fn answered(&self, done: bool) {
        match self {
            Self::Room(_) => {}
            Self::Inbox(view) => view.answered(done),
        }
    }

    /// Returns the time when the next unread count is due. None if no count waits.
    pub(super) fn next_count(&self) -> Option<Instant> {
        match self {
            Self::Room(_) => None,
            Self::Inbox(view) => view.next_count(),
        }
    }

    /// Returns the event with the unread count of a room. None if no count is due.
    pub(super) async fn count_next(&mut self, caller: &SocketSession) -> Result<Option<Utf8Bytes>, Close> {
        match self {
            Self::Room(_) => Ok(None),
            Self::Inbox(view) => {
                let counted = tokio::time::timeout(caller.until_expiry(), view.count_next()).await;
                counted.map_err(|_| Close::Expired)?
            }
        }
    }
}
