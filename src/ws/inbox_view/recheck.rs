//! Reads for an inbox connection: a room whose membership may have changed, and other reads with retries.

use bson::Timestamp;
use handlers::{InboxEvent, RoomId};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::InboxView;
use crate::protocol::close::Close;
use crate::realtime::room_reader::RETRY_PAUSE;
use crate::retry::{self, AttemptError};
use crate::store::{
    KnownPosition, RoomLookup, RoomSummary, StoreError, UnreadCount, Watermarks, to_room_view,
};

impl InboxView {
    /// Re-reads a room, because the user's membership may have changed. Returns the resulting events. Their cursors have
    /// the time of the frame, because older frames than the read still wait.
    pub(super) async fn recheck(
        &mut self,
        room: RoomId,
        time: Timestamp,
    ) -> Result<(Option<Utf8Bytes>, Option<Utf8Bytes>), Close> {
        // Later changes cause another re-read. Changes that are already queued behind this frame do not, so this re-read
        // must cover them.
        let last = self.rooms.take_stale(room).map_or(time, |last| last.max(time));
        if self.rechecked_at.get(&room).copied().unwrap_or(self.since.time) >= last {
            return Ok((None, None));
        }
        // The connection joins before the read, so that no event is lost between the two steps.
        let reached = self.join(&[room]).max(Some(last));
        let (read_at, looked) = self.read_room(room, reached).await?;
        let looked_before = self.rechecked_at.insert(room, read_at.time).unwrap_or(self.began);
        self.hidden.remove(&room);
        if let RoomLookup::Hidden = looked {
            self.pending.entry(room).or_default();
            self.hidden.insert(room);
            return Ok((None, None));
        }
        let RoomLookup::Listed(listed) = looked else {
            // The room is not one of the user's rooms any more.
            self.pending.remove(&room);
            let removed = self
                .rooms
                .leave(room)
                .then(|| self.render_inbox_event(room, time, &InboxEvent::RoomRemoved {}));
            self.since_in.remove(&room);
            self.unread.remove(&room);
            self.counts.forget(room);
            if self.joined.remove(&room) {
                self.services.hub.leave(room, &self.outbox);
            }
            return Ok((removed, None));
        };
        let (listed, known): (RoomSummary, KnownPosition) = *listed;
        if listed.pending {
            self.pending.entry(room).or_default();
        } else {
            self.set_accepted(room);
        }
        // The client knows this membership, unless the old membership has ended and another one has begun.
        let over = !self.rooms.enter(room);
        if over && known.beginning <= looked_before {
            return Ok((None, None));
        }
        let removed = over.then(|| self.render_inbox_event(room, time, &InboxEvent::RoomRemoved {}));
        if over {
            // The room is not open any more, and its counts are outdated.
            self.rooms.leave(room);
            self.rooms.enter(room);
            self.counts.forget(room);
        }
        self.since_in.insert(room, read_at);
        self.unread.insert(room, UnreadCount { unread: listed.unread, read: listed.marks.read });
        if let Some(message) = listed.undelivered() {
            self.add_unacked(room, message);
        }
        let listed_alone = std::slice::from_ref(&listed);
        let online = self.read(self.deadline(), || self.services.store.online_in(listed_alone, None)).await?;
        self.cursor.join(room, known.beginning, known.position, time);
        let view = Box::new(to_room_view(listed, &online));
        Ok((removed, Some(self.render_inbox_event(room, time, &InboxEvent::RoomAdded { room: view }))))
    }

    /// Reads a room. The result is not older than `reached`.
    async fn read_room(
        &self,
        room: RoomId,
        reached: Option<Timestamp>,
    ) -> Result<(Watermarks, RoomLookup), Close> {
        let deadline = self.deadline();
        let read = || async {
            let read = self.read(deadline, || self.services.store.room_of(&self.caller.user, room)).await;
            let read = read.map_err(AttemptError::Final)?;
            let is_current = reached.is_none_or(|reached| reached <= read.0.time);
            if is_current { Ok(read) } else { Err(AttemptError::Retry(Close::Unavailable)) }
        };
        retry::until(deadline, RETRY_PAUSE, read).await
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.services.config.load().mongodb.operation
    }

    /// Reads with retries until the deadline: an election of a new primary is no reason to close sockets.
    pub(super) async fn read<T, R>(&self, deadline: Instant, read: impl Fn() -> R) -> Result<T, Close>
    where
        R: Future<Output = Result<T, StoreError>>,
    {
        let attempt = || async {
            Box::pin(read()).await.map_err(|error| {
                tracing::debug!(%error, "could not read changes of a user's rooms");
                error.attempt()
            })
        };
        retry::until(deadline, RETRY_PAUSE, attempt).await.map_err(|error| self.failed(&error))
    }

    /// Counts and logs a failed read. Returns the close code with which the client reconnects.
    fn failed(&self, error: &StoreError) -> Close {
        self.services.metrics.count_fault("inbox");
        tracing::error!(%error, "could not read changes of a user's rooms; closing the socket so that the client reconnects");
        Close::Unavailable
    }
}
