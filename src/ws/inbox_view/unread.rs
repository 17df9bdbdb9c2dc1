//! The unread counts of an inbox connection: computed from the frames it receives, or counted by the database if that
//! is not possible.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bson::Timestamp;
use handlers::{InboxEvent, RoomId, UserId};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::InboxView;
use crate::protocol::close::Close;
use crate::realtime::outbox::{self, Frame, InboxEffect};
use crate::store::UnreadCount;

impl InboxView {
    /// Returns the unread count of a room after a frame, if the frame changes the count and no frame `behind` it does.
    pub(super) async fn unread_after(
        &mut self,
        room: RoomId,
        frame: &Frame,
        behind: &VecDeque<Arc<Frame>>,
    ) -> Result<Option<Utf8Bytes>, Close> {
        if let Some((id, author)) = &frame.delivers
            && *author != self.caller.user
            && let Some(known) = self.unread.get_mut(&room).filter(|known| id.get() > known.read)
        {
            // The client counts the message itself.
            known.unread += 1;
        }
        if !self.changes_unread(room, frame) {
            return Ok(None);
        }
        // The first frame may be later than a receipt marker.
        let shown = self.shown_in(room).time;
        match frame.inbox.as_ref().map(|inbox| &inbox.what) {
            Some(InboxEffect::Read { up_to, all: true, .. }) if frame.time > shown => {
                self.counts.forget(room);
                self.unread.insert(room, UnreadCount { unread: 0, read: *up_to });
            }
            Some(InboxEffect::Deleted { author: Some(_), .. }) => {
                if let Some(known) = self.unread.get_mut(&room) {
                    known.unread -= 1;
                }
            }
            // The number is unknown without a count.
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

    /// Whether a frame changes the unread count of a room.
    fn changes_unread(&self, of: RoomId, frame: &Frame) -> bool {
        let Some(outbox::InboxMeta { room, what }) = &frame.inbox else { return false };
        let own = |user: &UserId| *user == self.caller.user;
        *room == of
            && !self.was_shown(of, what, frame)
            && match what {
                InboxEffect::Recheck | InboxEffect::Event => false,
                InboxEffect::Read { user, .. } => own(user),
                InboxEffect::Deleted { id, author } => {
                    !author.as_ref().is_some_and(own)
                        && self.unread.get(&of).is_none_or(|unread| id.get() > unread.read)
                }
            }
    }

    /// Counts the unread messages of a room, now or once its pause is over.
    async fn count_in_turn(&mut self, room: RoomId, time: Timestamp) -> Result<Option<Utf8Bytes>, Close> {
        if self.counts.is_now(room, time, Instant::now(), self.pause()) {
            return self.count(room, time).await;
        }
        self.services.metrics.bound_hit("unread_ms");
        Ok(None)
    }

    /// Returns when the next room has to be counted; none if none has.
    pub(in crate::ws) fn next_count(&self) -> Option<Instant> {
        self.counts.next()
    }

    /// Counts a room whose pause is over.
    pub(in crate::ws) async fn count_next(&mut self) -> Result<Option<Utf8Bytes>, Close> {
        match self.counts.take(Instant::now(), self.pause()) {
            Some((room, time)) if self.rooms.has(room) => self.count(room, time).await,
            _ => Ok(None),
        }
    }

    fn pause(&self) -> Duration {
        self.services.config.load().sockets.unread
    }

    /// Counts the unread messages of a room as of a cluster time.
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
