//! What is unread in a user's rooms, as one socket of theirs is told it: reckoned from what it hears, and counted by the
//! database where that can't be.

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
use crate::store::Unread;

impl InboxView {
    /// What is unread in a room after a frame that has been told, where it changes that and none `behind` it does.
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
            // Whoever hears of the message counts it by themselves.
            known.unread += 1;
        }
        if !self.changes_unread(room, frame) {
            return Ok(None);
        }
        // What was shown in the beginning may be later than a mark.
        let shown = self.shown_in(room).time;
        match frame.inbox.as_ref().map(|inbox| &inbox.what) {
            Some(InboxEffect::Read { up_to, all: true, .. }) if frame.time > shown => {
                self.counts.forget(room);
                self.unread.insert(room, Unread { unread: 0, read: *up_to });
            }
            Some(InboxEffect::Deleted { author: Some(_), .. }) => {
                if let Some(known) = self.unread.get_mut(&room) {
                    known.unread -= 1;
                }
            }
            // It can't be known without counting.
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

    /// Whether a frame is to change what is unread in a room.
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

    /// What is unread in a room, counted now or once its turn comes.
    async fn count_in_turn(&mut self, room: RoomId, time: Timestamp) -> Result<Option<Utf8Bytes>, Close> {
        if self.counts.is_now(room, time, Instant::now(), self.pause()) {
            return self.count(room, time).await;
        }
        self.services.metrics.limit("unread_ms");
        Ok(None)
    }

    /// When what is unread in some room is to be counted; none where nothing is.
    pub(in crate::ws) fn next_count(&self) -> Option<Instant> {
        self.counts.next()
    }

    /// What is unread in a room that waited to be counted.
    pub(in crate::ws) async fn count_next(&mut self) -> Result<Option<Utf8Bytes>, Close> {
        match self.counts.take(Instant::now(), self.pause()) {
            Some((room, time)) if self.rooms.has(room) => self.count(room, time).await,
            _ => Ok(None),
        }
    }

    fn pause(&self) -> Duration {
        self.services.config.load().sockets.unread
    }

    /// What is unread in a room as of this moment.
    async fn count(&mut self, room: RoomId, time: Timestamp) -> Result<Option<Utf8Bytes>, Close> {
        let count = || self.services.store.unread_at(room, &self.caller.user, time);
        let unread = self.read(self.deadline(), count).await?;
        Ok(unread.map(|unread| self.render_unread(room, time, unread)))
    }

    fn render_unread(&mut self, room: RoomId, time: Timestamp, unread: Unread) -> Utf8Bytes {
        self.unread.insert(room, unread);
        let Unread { unread, read } = unread;
        self.render_inbox_event(room, time, &InboxEvent::Unread { unread, read })
    }
}
