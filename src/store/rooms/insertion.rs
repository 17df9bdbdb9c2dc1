//! Inserts a new room and its members in one transaction.

use bson::{DateTime, Document, RawDocumentBuf, doc};
use handlers::{Role, RoomId};
use mongodb::ClientSession;
use mongodb::error::Error;
use mongodb::options::Hint;

use super::consent::PENDING;
use super::create::NewMember;
use crate::model::cluster_time;
use crate::store::{Store, codec};

/// The transaction that creates a room. The driver may run it several times.
pub(super) struct RoomInsertion {
    pub(super) store: Store,
    pub(super) room: Document,
    pub(super) members: Vec<RawDocumentBuf>,
    /// Each unique index that prevents a second such room, and the filter for the room.
    pub(super) unique: Vec<(&'static str, Document)>,
}

impl RoomInsertion {
    /// Inserts the room and its members.
    pub(super) async fn run(&self, session: &mut ClientSession) -> Result<(), Error> {
        let rooms = self.store.db.collection::<Document>("rooms");
        // The read with a hint fails if the index is missing. Without the index, the database would accept a second
        // room for the same pair of users or the same request. After this read, the database does not drop the index
        // until the transaction ends.
        for (index, filter) in &self.unique {
            let hint = Hint::Name((*index).to_owned());
            rooms.find_one(filter.clone()).hint(hint).session(&mut *session).await?;
        }
        // The room is inserted before its members, so that the transaction of a duplicate room fails before any other
        // write.
        rooms.insert_one(&self.room).session(&mut *session).await?;
        self.store.members.insert_many(&self.members).session(session).await?;
        Ok(())
    }
}

/// Returns the document of a new membership, with receipt markers of 0.
pub(super) fn first_member(
    room: RoomId,
    (NewMember { user_id, email }, role): (&NewMember, Role),
    pending: bool,
    now: DateTime,
) -> Result<RawDocumentBuf, codec::Undecodable> {
    let mut document = doc! {
        "_id": codec::member_id(room, user_id), "role": codec::role(role), "delivered": 0_i64, "read": 0_i64,
        "joined_at": now, "joined": cluster_time::ZERO,
    };
    document.extend(email.as_ref().map(|email| ("email".to_owned(), email.into())));
    document.extend(pending.then(|| (PENDING.to_owned(), true.into())));
    Ok(RawDocumentBuf::try_from(&document)?)
}
