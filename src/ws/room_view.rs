//! The view of a socket for one room. A view decides which frames the socket writes, and in what form
//! (docs/protocol.md, Events).

use handlers::RoomId;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::actions::session_state::SocketSession;
use crate::model::receipts::Marks;
use crate::protocol::close::Close;
use crate::protocol::cursor::{Position, RoomCursor};
use crate::protocol::fields::{append_fields, quoted};
use crate::realtime::frame::{Frame, FrameKind, RoomFrame};
use crate::realtime::history_watermark::HistoryWatermark;
use crate::realtime::hub::subscription::HubSubscription;
use crate::store::Receipts;

/// The state of a socket in its room.
pub(super) struct OneRoomView {
    pub(super) room: RoomId,
    pub(super) _subscription: HubSubscription,
    /// The events that the first frame (the history) already contained. None if the history could not be read.
    pub(super) shown: Option<HistoryWatermark>,
    /// The client's position in the room's history: this socket has written all messages and revisions (edits and
    /// deletes) up to this position. None for a Level 1 socket, or if the history could not be read.
    pub(super) position: Option<Position>,
    /// The number of the newest message of other users that was written to this socket and has no receipt yet.
    pub(super) unacked_up_to: i64,
}

impl OneRoomView {
    /// Returns the text of a frame for this socket. None if the socket does not write the frame.
    pub(super) fn take(&mut self, frame: &Frame, caller: &SocketSession) -> Result<Option<Utf8Bytes>, Close> {
        let FrameKind::Room(_, event) = &frame.kind else { return Ok(None) };
        if self.shown.as_mut().is_some_and(|shown| shown.contains(frame.time, event)) {
            return Ok(None);
        }
        match event {
            RoomFrame::MemberRemoved(user) if *user == caller.user => Err(Close::NotMember),
            RoomFrame::MemberRemoved(_) => Ok(None),
            // Level 1 sockets receive no typing events.
            RoomFrame::Typing(user) if *user == caller.user || self.position.is_none() => Ok(None),
            // A typing event gets no cursor: it does not change the position, and is not kept for later.
            RoomFrame::Typing(_) => Ok(Some(frame.json.clone())),
            event => Ok(Some(self.render(&frame.json, event, caller))),
        }
    }

    /// Returns the text of an event. If the event answers a frame of the client, adds the `ref` of that frame. For a
    /// Level 2 socket, adds the cursor.
    fn render(&mut self, json: &Utf8Bytes, event: &RoomFrame, caller: &SocketSession) -> Utf8Bytes {
        let reference = event.request().and_then(|request| caller.take_ref(request));
        let cursor = self.position.as_mut().map(|position| {
            *position = position.max(event.position());
            RoomCursor { room: self.room, position: *position }.to_string()
        });
        if reference.is_none() && cursor.is_none() {
            return json.clone();
        }
        let fields = [("ref", reference.as_deref().map(quoted)), ("cursor", cursor.as_deref().map(quoted))];
        let fields: Vec<_> =
            fields.iter().filter_map(|(name, json)| Some((*name, json.as_deref()?))).collect();
        append_fields(json, &fields)
    }

    /// Records that a frame was written to the socket.
    pub(super) fn wrote(&mut self, frame: &Frame, caller: &SocketSession) {
        if let Some((id, author)) = frame.message()
            && *author != caller.user
        {
            self.unacked_up_to = self.unacked_up_to.max(id.get());
        }
    }

    /// Queues the new receipt markers of the socket's user. Each message of another user that was written to the socket
    /// counts as delivered. It also counts as read, because the client has opened the room, unless the client sends
    /// read receipts itself (`receipts=manual`).
    pub(super) fn flush_receipts(&mut self, receipts: &Receipts, caller: &SocketSession) {
        let read = if caller.has_manual_receipts() { 0 } else { self.unacked_up_to };
        let marks = Marks { delivered: self.unacked_up_to, read };
        if self.unacked_up_to > 0 && receipts.raise(self.room, &caller.user, marks) {
            self.unacked_up_to = 0;
        }
    }
}
