//! Aggregation stages for lookups by a room's range of `_id`s, for example of its newest message.

use bson::{Bson, Document, doc};

/// Returns the conditions for a range of the `_id`s `{ room, <last> }` of a room, up to the room's end. The range
/// begins with `first` if `above` is `$gte`, and after `first` if `above` is `$gt`. The room's id is the variable
/// `$$room`.
pub(in crate::store) fn range(last: &str, above: &str, first: Bson) -> Vec<Document> {
    vec![
        doc! { above: ["$_id", { "room": "$$room", last: first }] },
        doc! { "$lte": ["$_id", { "room": "$$room", last: Bson::MaxKey }] },
    ]
}

/// Returns the stage that looks up the room's last message, deleted or not, into the array `name`. `shown` is the
/// projection of the message.
pub(in crate::store) fn newest(name: &str, shown: Document) -> Document {
    let filter = doc! { "$expr": { "$and": range("n", "$gte", Bson::MinKey) } };
    doc! { "$lookup": { "from": "messages", "let": { "room": "$room" }, "as": name, "pipeline": [
        { "$match": filter }, { "$sort": { "_id": -1 } }, { "$limit": 1 }, { "$project": shown },
    ] } }
}
