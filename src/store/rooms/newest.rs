//! Stages of aggregations that find the newest messages of a room.

use bson::{Bson, Document, doc};

/// The conditions on a key of the room, from `first` on (`$gte`) or after it (`$gt`).
pub(in crate::store) fn range(last: &str, above: &str, first: Bson) -> Vec<Document> {
    vec![
        doc! { above: ["$_id", { "room": "$$room", last: first }] },
        doc! { "$lte": ["$_id", { "room": "$$room", last: Bson::MaxKey }] },
    ]
}

/// Looks up the room's last message, deleted or not.
pub(in crate::store) fn newest(name: &str, shown: Document) -> Document {
    let filter = doc! { "$expr": { "$and": range("n", "$gte", Bson::MinKey) } };
    doc! { "$lookup": { "from": "messages", "let": { "room": "$room" }, "as": name, "pipeline": [
        { "$match": filter }, { "$sort": { "_id": -1 } }, { "$limit": 1 }, { "$project": shown },
    ] } }
}
