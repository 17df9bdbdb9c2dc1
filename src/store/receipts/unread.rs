//! Counts a member's unread messages: the messages of other members after the member's read marker.
//!
//! From the room's oldest message on, the message numbers have no gaps. Therefore the count is a subtraction: the
//! messages after the read marker, minus the member's own messages, minus the deleted messages of other members. The
//! count is exact for any number of messages.
//!
//! The database counts the member's own messages with an index, so the cost grows only with the number of these
//! messages. It also counts the deleted messages of other members with an index, up to [`COUNTED`]. If there are more
//! deleted messages, this server counts them in memory ([`deletions`](crate::store::messages::deletions)). Without this
//! bound, other members could raise the cost without a limit by deleting messages.

use bson::{Bson, Document, RawDocument, doc};
use handlers::{RoomId, UserId};

use crate::store::codec::{self, Undecodable};
use crate::store::rooms::newest::{newest, range};

/// The maximum number of deleted messages that the database counts for one member.
const COUNTED: i64 = 200;

/// The counts for a member if more than [`COUNTED`] messages of other members after the read marker are deleted.
pub(in crate::store) struct ManyDeleted {
    pub(in crate::store) room: RoomId,
    /// The read marker, or the number before the room's oldest message if that is greater.
    pub(in crate::store) read: i64,
    /// The number of messages after `read` that the member did not write. Includes deleted messages.
    pub(in crate::store) others: i64,
}

/// Returns aggregation stages for documents with the fields `room` and `read` (the read marker) of a member. The stages
/// add the counts from which [`read`] computes the number of unread messages.
pub(in crate::store) fn stages(user: &UserId) -> [Document; 4] {
    let user = codec::user_bson(user);
    let own = doc! { "sender": &user };
    let gone = doc! { "sender": { "$ne": user }, "deleted_at": { "$exists": true } };
    let most = [doc! { "$limit": COUNTED + 1 }];
    [
        newest("end", doc! { "_id": 1 }),
        oldest("start"),
        counted("own", own, &[]),
        counted("gone", gone, &most),
    ]
}

/// Returns the stage that looks up the room's oldest message. Messages before it were purged (removed by an operator),
/// so they don't count as unread.
fn oldest(name: &str) -> Document {
    let filter = doc! { "$expr": { "$and": range("n", "$gte", Bson::MinKey) } };
    doc! { "$lookup": { "from": "messages", "let": { "room": "$room" }, "as": name, "pipeline": [
        { "$match": filter }, { "$sort": { "_id": 1 } }, { "$limit": 1 }, { "$project": { "_id": 1 } },
    ] } }
}

/// Returns the stage that counts the room's messages that are after the read marker and match the filter.
fn counted(name: &str, mut filter: Document, bound: &[Document]) -> Document {
    let after = [doc! { "$eq": ["$_id.room", "$$room"] }, doc! { "$gt": ["$_id.n", "$$read"] }];
    filter.insert("$expr", doc! { "$and": after.to_vec() });
    let mut pipeline = vec![doc! { "$match": filter }];
    pipeline.extend_from_slice(bound);
    pipeline.push(doc! { "$count": "count" });
    doc! { "$lookup": {
        "from": "messages",
        "let": { "room": "$room", "read": { "$ifNull": ["$read", Bson::Int64(0)] } },
        "as": name,
        "pipeline": pipeline,
    } }
}

/// Returns the number of unread messages from a document that went through the [`stages`]. If [`read_many`] returns a
/// value, this number is too high.
pub(in crate::store) fn read(document: &RawDocument) -> Result<i64, Undecodable> {
    Ok((others(document)? - count(document, "gone")?).max(0))
}

/// Returns the counts for a member if the deleted messages must be counted in memory, because there are more than
/// [`COUNTED`]. Otherwise returns none.
pub(in crate::store) fn read_many(document: &RawDocument) -> Result<Option<ManyDeleted>, Undecodable> {
    if count(document, "gone")? <= COUNTED {
        return Ok(None);
    }
    Ok(Some(ManyDeleted {
        room: codec::read_room(document)?,
        read: read_up_to(document)?,
        others: others(document)?,
    }))
}

/// Returns a pipeline that counts the deleted messages of other users after the read marker, without a bound.
pub(in crate::store) fn count_deleted(room: RoomId, user: &UserId, read: i64) -> Vec<Document> {
    let filter = doc! {
        "_id.room": room.get(), "_id.n": { "$gt": read },
        "sender": { "$ne": codec::user_bson(user) }, "deleted_at": { "$exists": true },
    };
    vec![doc! { "$match": filter }, doc! { "$count": "count" }]
}

/// Reads the result of [`count_deleted`].
pub(in crate::store) fn deleted(found: Option<&RawDocument>) -> Result<i64, Undecodable> {
    found.map_or(Ok(0), |found| codec::read_int(found, "count"))
}

fn others(document: &RawDocument) -> Result<i64, Undecodable> {
    Ok(number(document, "end")? - read_up_to(document)? - count(document, "own")?)
}

/// Returns the number of the last message that the member has read or that was purged.
fn read_up_to(document: &RawDocument) -> Result<i64, Undecodable> {
    let read = codec::read_int_if_any(document, "read")?.unwrap_or_default();
    Ok(read.max(number(document, "start")? - 1))
}

fn number(document: &RawDocument, name: &str) -> Result<i64, Undecodable> {
    match codec::documents_in(document, name)?.first() {
        Some(message) => Ok(codec::read_message_id(message.get_document("_id")?)?.1.get()),
        None => Ok(0),
    }
}

fn count(document: &RawDocument, name: &str) -> Result<i64, Undecodable> {
    deleted(codec::documents_in(document, name)?.first().copied())
}
