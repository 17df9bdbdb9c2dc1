//! Handles the events of the change stream. Each kind of event has its own effects: changes of the store's caches, a
//! call of the hub, or an entry in a queue for inbox connections. The hub is the map from rooms to their sockets on
//! this server. An inbox connection serves all rooms of a user.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{RawDocument, Timestamp};
use handlers::RoomId;

use super::ChangeStreamReader;
use crate::model::change::CommittedChange;
use crate::protocol::close::Close;
use crate::protocol::ephemeral::EphemeralEvent;
use crate::realtime::change_event::ChangeEvent;
use crate::realtime::room_change_notifier::RoomChangedAt;
use crate::store::codec::{self, Undecodable};
use crate::store::receipts::journal;
use crate::store::receipts::overlay::RaisedMarks;
use crate::store::users::presence;
use crate::store::{LastMessage, UserPresence, ephemeral};

impl ChangeStreamReader {
    /// Handles a dropped collection or index. The store creates the collection or index again. If the data of rooms is
    /// lost, all sockets are closed. The clients reconnect and load the data that exists after the drop.
    pub(super) fn on_drop(&self, collection: &str, all: bool) {
        self.metrics.count_fault("dropped");
        tracing::error!(collection, all, "a collection or an index of Parlor was dropped; creating it again");
        self.store.indexes().request_check();
        match collection {
            "rooms" | "messages" | "members" | "marks" if all => {
                self.store.forget_rooms();
                self.hub.send_all_away();
            }
            "presence" if all => {
                self.store.contacts().record_all_offline();
                self.heartbeat.mark_re_registered();
            }
            // The drop of the collection has also removed the requests of all unfinished erasures.
            "erasures" if all => self.store.erasing().clear(),
            _ => {}
        }
    }

    /// Dispatches one event. Returns the event's time if the event belongs to a room or is a heartbeat of this server.
    /// For all other events, returns `None`.
    pub(super) fn dispatch(&self, event: &ChangeEvent<'_>) -> Result<Option<Timestamp>, Undecodable> {
        if !event.is_of_interest()? {
            return Ok(None);
        }
        let (key, time) = (event.key, event.time);
        match event.collection {
            "heartbeats" => {
                if key.get_object_id("_id")? != self.heartbeat.server() {
                    self.store.peers().on_heartbeat();
                    return Ok(None);
                }
                self.store.touched().record_position(time);
                self.hub.advance_time(time);
                self.on_heartbeat(event)?;
            }
            "presence" => {
                self.on_presence(event)?;
                return Ok(None);
            }
            "erasures" => {
                self.on_erasure(event)?;
                return Ok(None);
            }
            "signals" => self.on_ephemeral(time, ephemeral::read(event.document()?)?),
            "rooms" => self.on_room(event, codec::read_room_id(key)?)?,
            "marks" => self.on_marks(event)?,
            _ => self.on_message_or_member(event, key.get_document("_id")?)?,
        }
        Ok(Some(time))
    }

    fn on_message_or_member(&self, event: &ChangeEvent<'_>, id: &RawDocument) -> Result<(), Undecodable> {
        let (room, time) = (codec::read_room(id)?, event.time);
        if event.collection == "messages" && event.operation == "insert" {
            let (_, n) = codec::read_message_id(id)?;
            let at = codec::read_time(event.document()?, "created_at")?;
            self.numbers.record_if_cached(room, LastMessage { n: n.get(), at });
            self.store.activity().record(room, at);
        } else if event.collection == "messages"
            && let Ok(at) = codec::read_time(event.updated_fields()?, "updated_at")
        {
            self.numbers.record_if_cached(room, LastMessage { at, ..LastMessage::default() });
        }
        self.note_lag(event);
        if event.collection == "members" && event.operation == "delete" {
            self.store.overlay().drop_member(room, &codec::read_member_user(id)?, time);
        }
        if event.collection == "members" && event.operation != "update" {
            self.store.contacts().remove_room(room);
        }
        // The change is recorded in the store before the hub advances to the time of the change. A socket that joins
        // after the hub has reached this time relies on the record.
        self.store.touched().record_change(room, time);
        if self.hub.advance_to(room, time)
            && let Some(change) = event.change(id)?
        {
            self.hub.apply(room, time, change);
        }
        if event.collection == "members" {
            let user = codec::read_member_user(id)?;
            if event.is_of_membership()? {
                self.hub.request_recheck(room, Some(&user), time);
                self.room_changed(room, time);
            } else if event.is_of_address()? && self.hub.has_inboxes_of_others(room, &user) {
                // Only inbox connections of other users need the new e-mail address. Without this check, a new address
                // of a user who is alone in a thousand rooms would cause a thousand database reads.
                self.changes.push(room, RoomChangedAt(time));
            }
        }
        Ok(())
    }

    /// Records in the metrics the time between the change in the database and this call.
    fn note_lag(&self, event: &ChangeEvent<'_>) {
        if let Some(made) = event.made {
            let ms = self.store.now().0 - made.timestamp_millis();
            // The difference may be negative, because this server only estimates the database's clock.
            self.metrics.lag(Duration::from_millis(u64::try_from(ms).unwrap_or_default()));
        }
    }

    /// Handles a change of a user's presence document.
    fn on_presence(&self, event: &ChangeEvent<'_>) -> Result<(), Undecodable> {
        let user = presence::read_id(event.key)?;
        let presence = match event.operation {
            "update" => presence::read_update(event.updated_fields()?)?,
            // A user may be connected to several servers. After a disconnect from one server, the database may report
            // the update as a replacement of the whole document. The user is still online in this case, so the event is
            // skipped.
            "replace" => Some(UserPresence::read(event.document()?)?).filter(|presence| !presence.online),
            _ => Some(UserPresence::read(event.document()?)?),
        };
        if let Some(presence) = presence {
            self.store.contacts().record_presence(&user, presence.online);
            if self.hub.has_inboxes() {
                self.presence.push(user, presence);
            }
        }
        Ok(())
    }

    /// Handles an erasure that was requested or has ended.
    fn on_erasure(&self, event: &ChangeEvent<'_>) -> Result<(), Undecodable> {
        let user = presence::read_id(event.key)?;
        if event.operation == "delete" {
            self.store.erasing().remove(&user);
        } else {
            // The erasure is recorded before the user's sockets are closed. A socket that registers after the close
            // must find the record, because no further close follows.
            self.store.erasing().add(user.clone());
            self.outboxes.close_user(&user, Close::Erased);
        }
        Ok(())
    }

    /// Handles a batch of receipt markers. An insert reports raised markers. A delete reports that a server has written
    /// the batch's markers into the members' documents ([`journal`]).
    fn on_marks(&self, event: &ChangeEvent<'_>) -> Result<(), Undecodable> {
        let time = event.time;
        if event.operation == "delete" {
            self.store.overlay().mark_folded(event.key.get_object_id("_id")?, Instant::now());
            return Ok(());
        }
        self.note_lag(event);
        let mut batch = journal::read_batch(event.document()?)?;
        // The markers are sorted by room, so that each room is updated once with all its markers.
        batch.marks.sort_by_key(|mark| mark.room);
        let batch = Arc::new(batch);
        // The overlay has the markers that may still be missing in the members' documents. The markers are added to the
        // overlay before the hub advances to their time. A socket that joins after the hub has reached this time reads
        // the markers from the overlay.
        self.store.overlay().add_batch(time, &batch, Instant::now());
        for of_room in batch.marks.chunk_by(|one, other| one.room == other.room) {
            let room = of_room[0].room;
            self.store.touched().record_change(room, time);
            if self.hub.advance_to(room, time) {
                let marks = of_room.iter().map(|RaisedMarks { user, marks, .. }| (user.clone(), *marks));
                self.hub.apply(room, time, CommittedChange::Marked(marks.collect()));
            }
        }
        Ok(())
    }

    /// Handles a room that was created, renamed or deleted.
    fn on_room(&self, event: &ChangeEvent<'_>, room: RoomId) -> Result<(), Undecodable> {
        let time = event.time;
        self.store.touched().record_change(room, time);
        self.hub.advance_to(room, time);
        if event.operation == "update" && event.updated_fields()?.get("deleted_at")?.is_some() {
            self.hub.request_recheck(room, None, time);
            self.hub.close(room, Close::NoRoom);
        } else {
            self.room_changed(room, time);
        }
        Ok(())
    }

    /// Queues a change of a room or of its members, if the room has inbox connections. Another task takes the change
    /// from the queue and notifies these connections.
    fn room_changed(&self, room: RoomId, time: Timestamp) {
        if self.hub.has_inboxes_in(room) {
            self.changes.push(room, RoomChangedAt(time));
        }
    }

    fn on_ephemeral(&self, time: Timestamp, signal: EphemeralEvent) {
        match signal {
            EphemeralEvent::Event { room, event } => {
                if self.hub.advance_to(room, time) {
                    self.hub.apply(room, time, CommittedChange::Custom(event));
                }
            }
            EphemeralEvent::Typing { room, user } => {
                if self.hub.advance_to(room, time) {
                    self.hub.apply(room, time, CommittedChange::Typing { user });
                }
            }
            EphemeralEvent::Disconnect { user } => self.outboxes.close_user(&user, Close::Disconnected),
        }
    }

    fn on_heartbeat(&self, event: &ChangeEvent<'_>) -> Result<(), Undecodable> {
        let document = match event.operation {
            "update" => event.updated_fields()?,
            _ => event.document()?,
        };
        if let Some(beat) = codec::read_int_if_any(document, "beat")? {
            let now = Instant::now();
            if let Some(sent) = self.heartbeat.on_beat(beat) {
                self.store.database_clock().read(codec::read_time(document, "at")?, sent, now);
            }
        }
        Ok(())
    }
}
