//! The unread counts of an inbox connection. Usually the server computes a count from the events of the room that it
//! passes to this connection. If these events are not enough, the database counts the unread messages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bson::Timestamp;
use handlers::{InboxEvent, RoomId};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::InboxView;
use crate::protocol::close::Close;
use crate::realtime::frame::{Frame, FrameKind, InboxFrame, RoomFrame, UnreadBeforeDelete};
use crate::store::UnreadCount;

impl InboxView {
    /// Returns the event with the unread count of a room after a frame. None if the frame does not change the count.
    /// Also None if a later frame in `behind` changes the count. Also None if the count must wait, because the database
    /// counted the room less than `sockets.unread_ms` ago.
    pub(super) async fn unread_after(
        &mut self,
        room: RoomId,
        frame: &Frame,
        behind: &VecDeque<Arc<Frame>>,
    ) -> Result<Option<Utf8Bytes>, Close> {
        if let Some((id, author)) = frame.message()
            && *author != self.caller.user
            && let Some(known) = self.unread.get_mut(&room).filter(|known| id.get() > known.read)
        {
            // No count is sent for a new message, because the client itself adds the message to its count.
            known.unread += 1;
        }
        if !self.changes_unread(room, frame) {
            return Ok(None);
        }
        // The first frame or the event `room_added` may have shown the client a later state of the room than this
        // frame.
        let shown = self.shown_in(room).time;
        match &frame.kind {
            FrameKind::Inbox(InboxFrame::MarkerRaised { up_to, all: true, .. }) if frame.time > shown => {
                self.counts.forget(room);
                self.unread.insert(room, UnreadCount { unread: 0, read: *up_to });
            }
            FrameKind::Room(_, RoomFrame::Deleted { unread: UnreadBeforeDelete::Yes { .. }, .. }) => {
                if let Some(known) = self.unread.get_mut(&room) {
                    known.unread -= 1;
                }
            }
            // The frame does not say how the count changes, so the database must count.
            _ => drop(self.unread.remove(&room)),
        }
        if behind.iter().any(|frame| self.changes_unread(room, frame)) {
            return Ok(None);
        }
        match self.unread.get(&room).copied() {
            Some(unread) => Ok(Some(self.render_unread(room, frame.time, unread))),
            None => self.count_in_turn(room, frame.time.max(shown)).await,
        }
    }

    /// Tells whether a frame may lower the unread count of a room.
    fn changes_unread(&self, of: RoomId, frame: &Frame) -> bool {
        let changes = match &frame.kind {
            FrameKind::Inbox(InboxFrame::MarkerRaised { room, user, .. }) => {
                *room == of && *user == self.caller.user
            }
            FrameKind::Room(room, RoomFrame::Deleted { id, unread, .. }) => {
                let may_be_unread = match unread {
                    UnreadBeforeDelete::No => false,
                    UnreadBeforeDelete::Yes { author } => *author != self.caller.user,
                    UnreadBeforeDelete::Unknown => true,
                };
                *room == of
                    && may_be_unread
                    && self.unread.get(&of).is_none_or(|unread| id.get() > unread.read)
            }
            _ => false,
        };
        changes && !self.was_shown(of, frame)
    }

    /// Counts the unread messages of a room now. If the room was counted recently, the count waits.
    async fn count_in_turn(&mut self, room: RoomId, time: Timestamp) -> Result<Option<Utf8Bytes>, Close> {
        if self.counts.is_now(room, time, Instant::now(), self.pause()) {
            return self.count(room, time).await;
        }
        self.services.metrics.bound_hit("unread_ms");
        Ok(None)
    }

    /// Returns the time when the next waiting count is due. None if no count waits.
    pub(in crate::ws) fn next_count(&self) -> Option<Instant> {
        self.counts.next()
    }

    /// Counts the unread messages of the next room whose pause is over. None if no count is due.
    pub(in crate::ws) async fn count_next(&mut self) -> Result<Option<Utf8Bytes>, Close> {
        match self.counts.take(Instant::now(), self.pause()) {
            Some((room, time)) if self.rooms.has(room) => self.count(room, time).await,
            _ => Ok(None),
        }
    }

    fn pause(&self) -> Duration {
        self.services.config.load().sockets.unread
    }

    /// Lets the database count the unread messages of a room. The count includes every change up to the cluster time
    /// `time` (a time of MongoDB's logical clock).
    async fn count(&mut self, room: RoomId, time: Timestamp) -> Result<Option<Utf8Bytes>, Close> {
        let count = || self.services.store.unread_at(room, &self.caller.user, time);
        let unread = self.read(self.deadline(), count).await?;
        Ok(unread.map(|unread| self.render_unread(room, time, unread)))
    }

    fn render_unread(&mut self, room: RoomId, time: Timestamp, unread: UnreadCount) -> Utf8Bytes {
        self.unread.insert(room, unread);
        let UnreadCount { unread, read } = unread;
        self.render_inbox_event(room, time, &InboxEvent::Unread { unread, read })
    }
}
