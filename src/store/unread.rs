//! How many of others' messages a member has still to read.
//!
//! A room's numbers have no hole, so it is a subtraction: those after the mark, less the member's own and less those of
//! others that are deleted. So it is exact however many there are, and costs what was deleted and what the member wrote
//! since the mark, each of which an index counts.

use bson::{Bson, Document, RawDocument, doc};
use handlers::UserId;

use super::documents::{self, Undecodable};
use super::list::newest;

/// Looks up, by a member's `room` and `read`, what [`read`] needs.
pub(super) fn stages(user: &UserId) -> [Document; 3] {
    let user = documents::user_bson(user);
    let own = doc! { "sender": &user };
    let gone = doc! { "sender": { "$ne": user }, "deleted_at": { "$exists": true } };
    [newest("end", doc! { "_id": 1 }), counted("own", own), counted("gone", gone)]
}

/// Counts the room's messages after the mark that are so.
fn counted(name: &str, filter: Document) -> Document {
    let mut filter = filter;
    let after = [doc! { "$eq": ["$_id.room", "$$room"] }, doc! { "$gt": ["$_id.n", "$$read"] }];
    filter.insert("$expr", doc! { "$and": after.to_vec() });
    doc! { "$lookup": {
        "from": "messages",
        "let": { "room": "$room", "read": { "$ifNull": ["$read", Bson::Int64(0)] } },
        "as": name,
        "pipeline": [{ "$match": filter }, { "$count": "count" }],
    } }
}

/// The number of unread messages of a document that has gone through the [`stages`].
pub(super) fn read(document: &RawDocument) -> Result<i64, Undecodable> {
    let first = |name| Ok::<_, Undecodable>(documents::documents_in(document, name)?.into_iter().next());
    let last = match first("end")? {
        Some(last) => documents::read_message_id(last.get_document("_id")?)?.1.get(),
        None => 0,
    };
    let count = |name| first(name)?.map_or(Ok(0), |found| documents::read_int(found, "count"));
    let after = last - documents::read_int_if_any(document, "read")?.unwrap_or_default();
    Ok((after - count("own")? - count("gone")?).max(0))
}
