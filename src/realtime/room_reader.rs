//! Reads a room for a connection that has just joined the room in the [hub](super::hub). The hub sends a room's events
//! to its sockets on this server.

use std::sync::Arc;
use std::time::Duration;

use handlers::RoomId;
use tokio::time::Instant;

use super::hub::{Hub, JoinTicket};
use super::outbox::Outbox;
use crate::config::live::LiveConfig;
use crate::protocol::close::Close;
use crate::protocol::cursor::{Position, RoomCursor};
use crate::retry::{self, AttemptError};
use crate::store::{LastMessage, ResumedRoom, Snapshot, Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// The mean pause before a read is repeated. For example, a read is repeated if the hub had received a change before
/// the socket joined, and the read's data is older than this change.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Reads the history (the first frame) of a room for its joining sockets. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RoomReader {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
}

impl RoomReader {
    /// Reads a room for a connection that has joined the room in the hub. The hub sends only later changes to the
    /// connection. Therefore the result contains all changes that the hub received before the join. If the hub needs
    /// the room's state, also passes the result to the hub.
    ///
    /// # Errors
    /// The room's members can't be read, or no data that is new enough is read within `mongodb.operation_ms`.
    pub(crate) async fn read(
        &self,
        room: RoomId,
        joined: JoinTicket,
        outbox: &Arc<Outbox>,
    ) -> Result<Snapshot, Close> {
        Ok(self.read_since(&self.store, room, joined, outbox, None).await?.0)
    }

    /// Reads a room like [`read`](Self::read), over the database connections of `store`. If a resuming client sent the
    /// cursor `since`, also reads the changes after the cursor. These changes and the room are read as of one cluster
    /// time.
    ///
    /// # Errors
    /// The same errors as those of [`read`](Self::read).
    pub(crate) async fn read_since(
        &self,
        store: &Store,
        room: RoomId,
        joined: JoinTicket,
        outbox: &Arc<Outbox>,
        since: Option<&str>,
    ) -> Result<(Snapshot, Option<ResumedRoom>), Close> {
        let (operation, page_bytes) = {
            let config = self.config.load();
            (config.mongodb.operation, config.limits.page_bytes)
        };
        let deadline = Instant::now() + operation;
        let read = || async {
            let members = store.members_marked(room, joined.marked).await;
            let (view, members) = members.map_err(|error| AttemptError::Final(self.refused(&error)))?;
            let is_current = joined.reached.is_none_or(|reached| reached <= view.time());
            if is_current { Ok((view, members)) } else { Err(AttemptError::Retry(Close::Unavailable)) }
        };
        let (view, members) = retry::until(deadline, RETRY_PAUSE, read).await?;
        let time = view.time();
        let waiting = joined.load.is_some();
        let read = match since {
            None => store.snapshot(room, view, members.clone(), waiting).await.map(|read| (read, None)),
            Some(since) => {
                let from = parse_cursor(since, room);
                let changed = store.changed(room, view, members.clone(), waiting, from, page_bytes).await;
                changed.map(|(read, changed)| (read, Some(changed)))
            }
        };
        let (snapshot, changed) = read.unwrap_or_else(|error| {
            self.metrics.count_fault("history");
            tracing::error!(%error, %room, "could not read the history; the connection starts with none");
            let snapshot =
                Snapshot { time, members, messages: Vec::new(), waiting: Vec::new(), complete: false };
            (snapshot, None)
        });
        // If the snapshot has no message, the room's last message number is unknown: earlier messages may have been
        // removed from the database.
        if let Some(newest) = snapshot.messages.first() {
            let delivered = snapshot.members.iter().map(|member| member.marks.delivered).max();
            let n = delivered.unwrap_or_default().max(newest.id.get());
            self.store.numbers().record(room, LastMessage { n, at: newest.created_at });
        }
        if let Some(generation) = joined.load {
            self.hub.room_loaded(room, generation, outbox, &snapshot);
        }
        Ok((snapshot, changed))
    }

    /// Returns the close code for a client whose room or membership can't be read. Counts and logs the error, with one
    /// exception: the error that a member of the room is being erased is expected.
    pub(crate) fn refused(&self, error: &StoreError) -> Close {
        if !matches!(error, StoreError::Erasing(_)) {
            self.metrics.count_fault("connect");
            tracing::error!(%error, "could not read the room; refusing the connect");
        }
        match error {
            StoreError::Unreachable(_) | StoreError::Unknown(_) | StoreError::Full => Close::Unavailable,
            StoreError::NotMember => Close::NotMember,
            StoreError::Erasing(_) => Close::PeerErasing,
            StoreError::Fault(_) => Close::Internal,
        }
    }
}

/// Returns the position in the client's cursor. Returns none if the text is not a cursor of this room.
fn parse_cursor(since: &str, room: RoomId) -> Option<Position> {
    since.parse().ok().filter(|cursor: &RoomCursor| cursor.room == room).map(|cursor| cursor.position)
}
