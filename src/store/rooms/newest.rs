//! Aggregation stages that search a room's documents by a range of their `_id`s, for example for the room's newest
//! message.

use bson::{Bson, Document, doc};

/// Returns the conditions for a range of documents of a room. The `_id`s of the documents have the form `{ room, <last>
/// }`. `last` is the name of the second field, and `first` is a value of this field. The range goes from `first` to the
/// room's last document. It includes `first` if `above` is `$gte`, and begins after `first` if `above` is `$gt`. The
/// room's id is the aggregation variable `$$room`.
pub(in crate::store) fn range(last: &str, above: &str, first: Bson) -> Vec<Document> {
    vec![
        doc! { above: ["$_id", { "room": "$$room", last: first }] },
        doc! { "$lte": ["$_id", { "room": "$$room", last: Bson::MaxKey }] },
    ]
}

/// Returns the stage that looks up the room's last message, deleted or not, into the array `name`. The projection
/// `shown` selects the fields of the message.
pub(in crate::store) fn newest(name: &str, shown: Document) -> Document {
    let filter = doc! { "$expr": { "$and": range("n", "$gte", Bson::MinKey) } };
    doc! { "$lookup": { "from": "messages", "let": { "room": "$room" }, "as": name, "pipeline": [
        { "$match": filter }, { "$sort": { "_id": -1 } }, { "$limit": 1 }, { "$project": shown },
    ] } }
}
