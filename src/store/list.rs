//! A user's rooms, the latest activity first, in pages.
//!
//! Nothing is written for it but what is there anyway: a room's last activity is its last message, deleted or not,
//! which stands at the end of the room's range of `_id`s, or where there is none the room's beginning. One
//! aggregation takes the user's rooms from the index by user and looks up one key for each; only for the rooms of the
//! page is more read. A message costs no second write so, and a list costs by the number of its user's rooms.

use bson::{Bson, DateTime, Document, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::{RoomId, Time, UserId};

use super::documents::{self, Marks, Member, Message, Room, Undecodable};
use super::{Store, StoreError};

/// After which room a page begins: its last activity, and, for rooms of the same moment, its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) at: Time,
    pub(crate) room: RoomId,
}

/// A room as one of its members sees it.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) room: Room,
    pub(crate) members: Vec<Member>,
    /// The last message that is not deleted.
    pub(crate) last: Option<Message>,
    /// Others' messages after the user's read mark, deleted ones not counted.
    pub(crate) unread: i64,
    /// How far the user has come.
    pub(crate) marks: Marks,
    pub(crate) active_at: Time,
}

impl Listed {
    /// Where the page after this room begins.
    pub(crate) fn position(&self) -> Position {
        Position { at: self.active_at, room: self.room.id }
    }
}

/// What is asked of [`Store::rooms_of`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) before: Option<Position>,
    pub(crate) limit: usize,
    /// Unread messages that are counted, at most.
    pub(crate) counted: usize,
}

impl Store {
    /// A page of a user's rooms, and whether there are more.
    pub(crate) async fn rooms_of(
        &self,
        user: &UserId,
        page: Page,
    ) -> Result<(Vec<Listed>, bool), StoreError> {
        let members = self.members.clone();
        let stages = stages(user, page);
        let user = user.clone();
        self.bounded(async move {
            let rooms = members.aggregate(stages).with_type::<RawDocumentBuf>().await?;
            let documents: Vec<RawDocumentBuf> = rooms.try_collect().await?;
            let more = documents.len() > page.limit;
            let shown = documents.iter().take(page.limit);
            let rooms = shown.map(|document| read(document, &user)).collect::<Result<_, _>>()?;
            Ok((rooms, more))
        })
        .await
    }
}

fn stages(user: &UserId, page: Page) -> Vec<Document> {
    let user = documents::user_bson(user);
    let one_more = i64::try_from(page.limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut stages = vec![
        doc! { "$match": { "_id.user": user.clone() } },
        doc! { "$project": { "_id": 0, "room": "$_id.room", "read": 1 } },
        doc! { "$lookup": { "from": "rooms", "localField": "room", "foreignField": "_id", "as": "doc" } },
        doc! { "$unwind": "$doc" },
        doc! { "$match": { "doc.deleted_at": { "$exists": false } } },
        newest(doc! {}, "newest", doc! { "_id": 0, "created_at": 1 }),
        doc! { "$set": { "active_at": {
            "$ifNull": [{ "$first": "$newest.created_at" }, "$doc.created_at"],
        } } },
    ];
    if let Some(Position { at, room }) = page.before {
        let at = DateTime::from_millis(at.0);
        let earlier = doc! { "active_at": { "$lt": at } };
        let of_the_moment = doc! { "active_at": at, "room": { "$lt": room.get() } };
        stages.push(doc! { "$match": { "$or": [earlier, of_the_moment] } });
    }
    stages.extend([
        doc! { "$sort": { "active_at": -1, "room": -1 } },
        doc! { "$limit": one_more },
        newest(doc! { "deleted_at": { "$exists": false } }, "last", doc! { "write_id": 0 }),
        unread(user, page.counted),
        doc! { "$lookup": { "from": "members", "let": { "room": "$room" }, "as": "members", "pipeline": [
            { "$match": { "$expr": { "$and": range("user", "$gte", Bson::MinKey) } } },
        ] } },
    ]);
    stages
}

/// The conditions on a key of the room, from `first` on (`$gte`) or after it (`$gt`).
fn range(last: &str, above: &str, first: Bson) -> Vec<Document> {
    vec![
        doc! { above: ["$_id", { "room": "$$room", last: first }] },
        doc! { "$lte": ["$_id", { "room": "$$room", last: Bson::MaxKey }] },
    ]
}

/// Looks up the room's last message that is so.
fn newest(filter: Document, name: &str, shown: Document) -> Document {
    let mut filter = filter;
    filter.insert("$expr", doc! { "$and": range("n", "$gte", Bson::MinKey) });
    doc! { "$lookup": { "from": "messages", "let": { "room": "$room" }, "as": name, "pipeline": [
        { "$match": filter }, { "$sort": { "_id": -1 } }, { "$limit": 1 }, { "$project": shown },
    ] } }
}

/// Counts others' messages after the mark.
fn unread(user: Bson, counted: usize) -> Document {
    let counted = i64::try_from(counted).unwrap_or(i64::MAX);
    let after = range("n", "$gt", "$$read".into());
    let others = doc! {
        "$expr": { "$and": after }, "sender": { "$ne": user }, "deleted_at": { "$exists": false },
    };
    doc! { "$lookup": {
        "from": "messages",
        "let": { "room": "$room", "read": { "$ifNull": ["$read", 0] } },
        "as": "unread",
        "pipeline": [{ "$match": others }, { "$limit": counted }, { "$count": "count" }],
    } }
}

fn read(document: &RawDocument, user: &UserId) -> Result<Listed, Undecodable> {
    let room = documents::read_room_document(document.get_document("doc")?)?
        .ok_or_else(|| Undecodable::new("a deleted room is listed"))?;
    let members = documents_in(document, "members")?.into_iter().map(documents::read_member);
    let members = members.collect::<Result<Vec<_>, _>>()?;
    let last = documents_in(document, "last")?.first().map(|last| documents::read_message(last));
    let unread = documents_in(document, "unread")?.first().map(|count| documents::read_int(count, "count"));
    let marks = members.iter().find(|member| member.user == *user).map(|member| member.marks);
    Ok(Listed {
        room,
        members,
        last: last.transpose()?.flatten(),
        unread: unread.transpose()?.unwrap_or_default(),
        marks: marks.unwrap_or_default(),
        active_at: documents::read_time(document, "active_at")?,
    })
}

fn documents_in<'a>(document: &'a RawDocument, key: &str) -> Result<Vec<&'a RawDocument>, Undecodable> {
    let documents = document.get_array(key)?.into_iter();
    let read = |item: bson::error::Result<bson::RawBsonRef<'a>>| {
        item?.as_document().ok_or_else(|| Undecodable::new("a list of something else than documents"))
    };
    documents.map(read).collect()
}
