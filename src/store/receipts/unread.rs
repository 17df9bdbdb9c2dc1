//! How many of others' messages a member has still to read.
//!
//! A room's numbers have no hole from its oldest message on, so it is a subtraction: those after the mark, less the
//! member's own and less those of others that are deleted. So it is exact however many there are, and costs what the member wrote since the mark, which an
//! index counts. So it counts what others deleted, up to [`COUNTED`]; more than that is known in memory
//! ([`deletions`](crate::store::messages::deletions)), or the cost would be theirs to raise.

use bson::{Bson, Document, RawDocument, doc};
use handlers::{RoomId, UserId};

use crate::store::codec::{self, Undecodable};
use crate::store::rooms::newest::{newest, range};

/// Deleted messages that are counted in the database.
const COUNTED: i64 = 200;

/// What is unread in a room in which others have deleted more than [`COUNTED`] messages after the mark.
pub(in crate::store) struct Many {
    pub(in crate::store) room: RoomId,
    /// The mark, or the number before the room's oldest message if that is greater.
    pub(in crate::store) read: i64,
    /// Messages after it, less the member's own, deleted ones included.
    pub(in crate::store) others: i64,
}

/// Looks up, by a member's `room` and `read`, what [`read`] needs.
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

/// Looks up the room's first message: those before it were purged, and nobody can read them.
fn oldest(name: &str) -> Document {
    let filter = doc! { "$expr": { "$and": range("n", "$gte", Bson::MinKey) } };
    doc! { "$lookup": { "from": "messages", "let": { "room": "$room" }, "as": name, "pipeline": [
        { "$match": filter }, { "$sort": { "_id": 1 } }, { "$limit": 1 }, { "$project": { "_id": 1 } },
    ] } }
}

/// Counts the room's messages after the mark that are so.
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

/// The number of unread messages of a document that has gone through the [`stages`]; too high where there are [`Many`].
pub(in crate::store) fn read(document: &RawDocument) -> Result<i64, Undecodable> {
    Ok((others(document)? - count(document, "gone")?).max(0))
}

/// The same where it takes more to tell.
pub(in crate::store) fn read_many(document: &RawDocument) -> Result<Option<Many>, Undecodable> {
    if count(document, "gone")? <= COUNTED {
        return Ok(None);
    }
    Ok(Some(Many {
        room: codec::read_room(document)?,
        read: read_up_to(document)?,
        others: others(document)?,
    }))
}

/// Counts others' deleted messages after the mark in the database, however many there are.
pub(in crate::store) fn count_deleted(room: RoomId, user: &UserId, read: i64) -> Vec<Document> {
    let filter = doc! {
        "_id.room": room.get(), "_id.n": { "$gt": read },
        "sender": { "$ne": codec::user_bson(user) }, "deleted_at": { "$exists": true },
    };
    vec![doc! { "$match": filter }, doc! { "$count": "count" }]
}

/// What [`count_deleted`] gave.
pub(in crate::store) fn deleted(found: Option<&RawDocument>) -> Result<i64, Undecodable> {
    found.map_or(Ok(0), |found| codec::read_int(found, "count"))
}

fn others(document: &RawDocument) -> Result<i64, Undecodable> {
    Ok(number(document, "end")? - read_up_to(document)? - count(document, "own")?)
}

/// Up to which number nothing is there that the member has still to read: read, or purged.
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
