//! Finds a room's position at an earlier time. A position is the last message number and the last revision number of a
//! room. A revision is an edit or a deletion. The database stamps each message and revision with the cluster time
//! (MongoDB's logical clock) of the write. The search compares these stamps with the earlier time.

use bson::{Document, RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt;
use handlers::RoomId;
use mongodb::ClientSession;

use super::revisions::revised_after;
use crate::protocol::cursor::Position;
use crate::store::codec::{self, Undecodable};
use crate::store::{Store, StoreError};

/// The maximum number of documents in the first read and in the second read. Both reads begin with the latest document.
/// The first read is small, because usually little has changed. If the second read also finds no document with a stamp
/// that is early enough, the search ends without a result.
const LOOKED_AT: [i64; 2] = [64, 5_000];

impl Store {
    /// Returns a room's position at the time `then`. The caller passes numbers that it already knows in `known`, and 0
    /// for an unknown number. The known numbers are returned unchanged. Returns none if too much has changed since
    /// `then`.
    pub(in crate::store) async fn position_at(
        &self,
        session: &mut ClientSession,
        room: RoomId,
        known: Position,
        then: Timestamp,
    ) -> Result<Option<Position>, StoreError> {
        let message = match known.message {
            0 => {
                let all = doc! { "_id": codec::of_room(room, "n") };
                self.last_by(session, (all, "_id", "stamp"), then).await?
            }
            message => Some(message),
        };
        let revision = match known.revision {
            0 => self.last_by(session, (revised_after(room, 0), "rev", "revised"), then).await?,
            revision => Some(revision),
        };
        Ok(message.zip(revision).map(|(message, revision)| Position { message, revision }))
    }

    /// Returns the number of the last document with a stamp of `then` or earlier. A document without a stamp counts as
    /// early enough. Returns 0 if all stamps are later than `then`. Returns none if all documents of the second read
    /// have later stamps, and the room has more documents.
    async fn last_by(
        &self,
        session: &mut ClientSession,
        (filter, order, stamp): (Document, &str, &str),
        then: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        for limit in LOOKED_AT {
            let find = self.messages.find(filter.clone()).sort(doc! { order: -1 }).limit(limit);
            let find = find.projection(doc! { "_id": 1, "rev": 1, stamp: 1 });
            let mut cursor = find.session(&mut *session).await?;
            let found: Vec<RawDocumentBuf> = cursor.stream(session).try_collect().await?;
            for document in &found {
                if codec::read_stamp(document, stamp)?.is_none_or(|stamp| stamp <= then) {
                    return Ok(Some(number(document, order)?));
                }
            }
            if i64::try_from(found.len()).is_ok_and(|found| found < limit) {
                return Ok(Some(0));
            }
        }
        Ok(None)
    }
}

fn number(document: &RawDocumentBuf, order: &str) -> Result<i64, Undecodable> {
    if order == "rev" {
        return codec::read_int(document, "rev");
    }
    Ok(codec::read_message_id(document.get_document("_id")?)?.1.get())
}
