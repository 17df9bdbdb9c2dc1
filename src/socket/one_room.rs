//! What a socket of one room makes of what happens in it (protocol.md, Levels 1 and 2).

use bson::Timestamp;
use handlers::RoomId;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::caller::Caller;
use crate::close::Close;
use crate::cursor::{Position, RoomCursor};
use crate::outbox::Frame;
use crate::server::{Server, Stay};
use crate::splice::{quoted, splice};
use crate::store::documents::Marks;

/// A socket's place in its room.
pub(super) struct OneRoom {
    pub(super) room: RoomId,
    pub(super) _stay: Stay,
    /// What was committed up to then was in the history.
    pub(super) since: Option<Timestamp>,
    /// How far it has been told, where it is a Level 2 socket.
    pub(super) position: Option<Position>,
    /// The newest message of others that was written to this socket, and whose mark is still to be handed on.
    pub(super) owed: i64,
}

impl OneRoom {
    /// A frame as this socket has it, where it has it.
    pub(super) fn take(&mut self, frame: &Frame, caller: &Caller) -> Result<Option<Utf8Bytes>, Close> {
        if frame.is_for_inboxes() || self.since.is_some_and(|since| frame.time <= since) {
            return Ok(None);
        }
        if let Some(user) = &frame.dismisses {
            return if *user == caller.user { Err(Close::NotMember) } else { Ok(None) };
        }
        if let Some(user) = &frame.about
            && (*user == caller.user || self.position.is_none())
        {
            return Ok(None);
        }
        Ok(Some(self.text(frame, caller)))
    }

    fn text(&mut self, frame: &Frame, caller: &Caller) -> Utf8Bytes {
        let reference = frame.cause.and_then(|request| caller.take_ref(request));
        let cursor = self.position.as_mut().filter(|_| frame.about.is_none()).map(|position| {
            *position = position.max(frame.reaches);
            RoomCursor { room: self.room, position: *position }.to_string()
        });
        if reference.is_none() && cursor.is_none() {
            return frame.json.clone();
        }
        let fields = [("ref", reference.as_deref().map(quoted)), ("cursor", cursor.as_deref().map(quoted))];
        let fields: Vec<_> =
            fields.iter().filter_map(|(name, json)| Some((*name, json.as_deref()?))).collect();
        splice(&frame.json, &fields)
    }

    /// It was written.
    pub(super) fn wrote(&mut self, frame: &Frame, caller: &Caller) {
        if let Some((id, author)) = &frame.delivers
            && *author != caller.user
        {
            self.owed = self.owed.max(id.get());
        }
    }

    /// Hands on the mark that is owed. An open room is being looked at: what is written is read, unless that is said
    /// by hand.
    pub(super) fn pay(&mut self, server: &Server, caller: &Caller) {
        let read = if caller.receipts_by_hand() { 0 } else { self.owed };
        let marks = Marks { delivered: self.owed, read };
        if self.owed > 0 && server.receipts.raise(self.room, &caller.user, marks) {
            self.owed = 0;
        }
    }
}
