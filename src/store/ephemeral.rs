//! Ephemeral events are sent to connected clients and not kept. Each event must reach every server through the change
//! stream. Therefore Parlor stores an event as a document, which the database deletes after a minute. The document is
//! `{_id, at, room, frame}` for a custom event and `{_id, at, room, typing}` for a typing event. For a request to close
//! a user's sockets it is `{_id, at, disconnect}`.

use bson::oid::ObjectId;
use bson::{DateTime, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

use super::codec::{self, Undecodable};
use super::{Store, StoreError};
use crate::protocol::ephemeral::{CustomEvent, EphemeralEvent};

impl Store {
    /// Sends an ephemeral event to every server. Returns when a majority of the database's members has stored the
    /// document.
    ///
    /// # Errors
    /// Fails if the database can't be reached, does not answer in time, or rejects the write. After
    /// [`StoreError::Unknown`], the event may still be delivered.
    pub async fn signal(&self, signal: &EphemeralEvent) -> Result<(), StoreError> {
        let signals = self.db.collection::<RawDocumentBuf>("signals");
        let document = write(signal, DateTime::from_millis(self.now().0));
        self.run_detached(async move {
            signals.insert_one(document).await?;
            Ok(())
        })
        .await
    }
}

fn write(signal: &EphemeralEvent, at: DateTime) -> RawDocumentBuf {
    let id = ObjectId::new();
    match signal {
        EphemeralEvent::Event { room, event } => {
            rawdoc! { "_id": id, "at": at, "room": room.get(), "frame": event.frame() }
        }
        EphemeralEvent::Typing { room, user } => {
            rawdoc! { "_id": id, "at": at, "room": room.get(), "typing": codec::user(user) }
        }
        EphemeralEvent::Disconnect { user } => {
            rawdoc! { "_id": id, "at": at, "disconnect": codec::user(user) }
        }
    }
}

/// Decodes an ephemeral event from its document.
pub(crate) fn read(document: &RawDocument) -> Result<EphemeralEvent, Undecodable> {
    if let Some(user) = document.get("disconnect")? {
        return Ok(EphemeralEvent::Disconnect { user: codec::read_user(user)? });
    }
    if let Some(user) = document.get("typing")? {
        return Ok(EphemeralEvent::Typing {
            room: codec::read_room(document)?,
            user: codec::read_user(user)?,
        });
    }
    match document.get("frame")? {
        Some(RawBsonRef::String(frame)) => Ok(EphemeralEvent::Event {
            room: codec::read_room(document)?,
            event: CustomEvent::from_stored(frame),
        }),
        _ => Err(Undecodable::new("unknown kind of ephemeral event")),
    }
}
