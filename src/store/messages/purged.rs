//! Handles rooms whose old messages an operator has purged, that is, removed from the database. The numbers of purged
//! messages are never used again.
//!
//! New messages are numbered after the room's newest message. If the newest message was purged too, its number comes
//! from two other places: the members' receipt markers, and `purged_to` in the room's document. The operator sets
//! `purged_to` (docs/operate/backup.md, Retention). Parlor reads these two places only if the room has no message, or
//! if a client's cursor is ahead of the room's messages. Therefore a room without a purge usually needs no extra read.

use bson::{RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::RoomId;
use mongodb::ClientSession;

use crate::model::cluster_time;
use crate::model::room::StoredMember;
use crate::protocol::cursor::Position;
use crate::store::codec::{self, Undecodable};
use crate::store::{Store, StoreError};

impl Store {
    /// Returns the greatest message number that a room's members and document show as used, for example by a purged
    /// message. Returns 0 if they show no number.
    pub(in crate::store) async fn given_out(&self, room: RoomId) -> Result<i64, StoreError> {
        let store = self.clone();
        self.run_detached(async move {
            let mut session = store.client.start_session().snapshot(true).await?;
            Ok(store.given_out_in(&mut session, room).await?.message)
        })
        .await
    }

    /// Returns a room's greatest message number and greatest revision number at the session's snapshot time. A revision
    /// is an edit or a deletion. Reads these numbers from the members and the room's document, not from the messages.
    pub(in crate::store) async fn given_out_in(
        &self,
        session: &mut ClientSession,
        room: RoomId,
    ) -> Result<Position, StoreError> {
        // An operator may have written these numbers with any numeric type, or as text.
        let number = |field: &str| doc! { "$convert": { "input": field, "to": "long", "onError": 0_i64, "onNull": 0_i64 } };
        let shown = doc! { "purged_to": number("$purged_to"), "revisions": number("$revisions") };
        let rooms = self.db.collection::<RawDocumentBuf>("rooms");
        let find = rooms.find_one(doc! { "_id": room.get() });
        let found = find.projection(shown).session(&mut *session).await?;
        let (purged_to, revision) = match &found {
            Some(found) => (codec::read_int(found, "purged_to")?, codec::read_int(found, "revisions")?),
            None => (0, 0),
        };
        let find = self.members.find(doc! { "_id": codec::of_room(room, "user") });
        let mut cursor = find.session(&mut *session).await?;
        let found: Vec<RawDocumentBuf> = cursor.stream(session).try_collect().await?;
        let members = found.iter().map(|member| codec::read_member(member));
        let mut members = members.collect::<Result<Vec<StoredMember>, Undecodable>>()?;
        self.overlay.raise(room, cluster_time::MAX, &mut members);
        let delivered = members.iter().map(|member| member.marks.delivered).max().unwrap_or_default();
        Ok(Position { message: purged_to.max(delivered), revision })
    }

    /// Returns the current position of a room (its last message number and revision number) for a client whose cursor
    /// has the position `from`. `now` is the position that the room's messages show. `now` may be lower than `from`,
    /// because messages that the client has received may have been purged. Returns none if no client can have been at
    /// `from`.
    pub(in crate::store) async fn reach(
        &self,
        session: &mut ClientSession,
        room: RoomId,
        now: Position,
        from: Position,
    ) -> Result<Option<Position>, StoreError> {
        if now.reaches(from) {
            return Ok(Some(now));
        }
        let given_out = self.given_out_in(session, room).await?;
        // The result does not include `given_out`, because `given_out` may count revisions that are not applied yet.
        Ok(now.max(given_out).reaches(from).then(|| now.max(from)))
    }
}
