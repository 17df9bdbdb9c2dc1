//! Database reads of an inbox connection. Loads a room again if the user's membership may have changed, and repeats
//! failed reads.

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
    /// Loads a room again, because the user's membership may have changed. Returns the resulting events. `time` is the
    /// cluster time of the frame that caused this load. The cursors of the events have this time, although the database
    /// is read later. The reason is that frames with cluster times between `time` and the read still wait in the queue.
    pub(super) async fn recheck(
        &mut self,
        room: RoomId,
        time: Timestamp,
    ) -> Result<(Option<Utf8Bytes>, Option<Utf8Bytes>), Close> {
        // `last` is the time of the last known change of the membership. Frames that are already in the queue report
        // changes up to `last`, and cause no further load. So this load must include these changes.
        let last = self.rooms.take_stale(room).map_or(time, |last| last.max(time));
        if self.rechecked_at.get(&room).copied().unwrap_or(self.since.time) >= last {
            return Ok((None, None));
        }
        // The connection joins the room in the hub before the read. Therefore events between the join and the read are
        // not lost.
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
            // The user is no longer a member of the room.
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
        // If the user was a member without interruption, the client knows this membership and gets no event. If the old
        // membership has ended and a new membership has begun, the client gets the events `room_removed` and
        // `room_added`.
        let over = !self.rooms.enter(room);
        if over && known.beginning <= looked_before {
            return Ok((None, None));
        }
        let removed = over.then(|| self.render_inbox_event(room, time, &InboxEvent::RoomRemoved {}));
        if over {
            // For the client, the old room has ended: the new room is not open, and the waiting unread count of the old
            // room is cancelled.
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

    /// Reads a room from the database. Repeats the read until the result includes every change up to the cluster time
    /// `reached`.
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

    /// Repeats a failed read until the deadline. So sockets stay open while the database elects a new primary.
    pub(super) async fn read<T, R>(&self, deadline: Instant, read: impl Fn() -> R) -> Result<T, Close>
    where
        R: Future<Output = Result<T, StoreError>>,
    {
        let attempt = || async {
            Box::pin(read()).await.map_err(|error| {
                tracing::debug!(%error, "could not read changes of a user's rooms");
                // A fault is final. After any other error, another attempt may succeed, such as after an election.
                match error {
                    StoreError::Fault(_) => AttemptError::Final(error),
                    _ => AttemptError::Retry(error),
                }
            })
        };
        retry::until(deadline, RETRY_PAUSE, attempt).await.map_err(|error| self.failed(&error))
    }

    /// Counts and logs a failed read. Returns the close code `Unavailable`, after which the client reconnects.
    fn failed(&self, error: &StoreError) -> Close {
        self.services.metrics.count_fault("inbox");
        tracing::error!(%error, "could not read changes of a user's rooms; closing the socket so that the client reconnects");
        Close::Unavailable
    }
}
