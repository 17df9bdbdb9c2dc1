//! Stages of aggregations that find the newest message of a room.

use bson::{Bson, Document, doc};

/// Returns the conditions for a range of a room's `_id`s. The range begins with `first` if `above` is `$gte`, and after
/// `first` if `above` is `$gt`.
pub(in crate::store) fn range(last: &str, above: &str, first: Bson) -> Vec<Document> {
    vec![
        doc! { above: ["$_id", { "room": "$$room", last: first }] },
        doc! { "$lte": ["$_id", { "room": "$$room", last: Bson::MaxKey }] },
    ]
}

/// Returns the stage that looks up the room's last message, deleted or not.
pub(in crate::store) fn newest(name: &str, shown: Document) -> Document {
    let filter = doc! { "$expr": { "$and": range("n", "$gte", Bson::MinKey) } };
    doc! { "$lookup": { "from": "messages", "let": { "room": "$room" }, "as": name, "pipeline": [
        { "$match": filter }, { "$sort": { "_id": -1 } }, { "$limit": 1 }, { "$project": shown },
    ] } }
}
