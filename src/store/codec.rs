//! The documents as they are stored, and how they turn into the types of the handlers.
//!
//! A document that doesn't decode is an error of its own ([`Undecodable`]), never a panic and never skipped:
//! the caller decides what it means.

use std::fmt;

use bson::oid::ObjectId;
use bson::raw::cstr;
use bson::{Bson, DateTime, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use handlers::{MessageId, Role, RoomId, Text, Time, UserId};

use super::messages::sequence_cache::Last;
use super::rooms::consent;
use crate::model::message::{Revision, StoredMessage};
use crate::model::receipts::Marks;
use crate::model::room::{StoredMember, StoredRoom, StoredRoomKind};

/// A stored document is not what it should be.
#[derive(Debug)]
pub(crate) struct Undecodable(String);

impl Undecodable {
    /// Says what is wrong.
    pub(crate) fn new(fault: &str) -> Self {
        Self(fault.to_owned())
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "a stored document does not decode: {}", self.0)
    }
}

impl std::error::Error for Undecodable {}

impl From<bson::error::Error> for Undecodable {
    fn from(error: bson::error::Error) -> Self {
        Self(error.to_string())
    }
}

/// A message that is still to be written. `write_id` is the write's own mark: a write of unknown outcome is looked up
/// by it.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) room: RoomId,
    pub(crate) sender: UserId,
    pub(crate) text: Text,
    /// What its sender calls it, or the key of the request: no second one of the sender's is called so in the room.
    pub(crate) client_id: Option<String>,
    /// By the database's clock, as it is estimated. It is written with a later time where the one before it has that.
    pub(crate) at: Time,
    pub(crate) write_id: ObjectId,
    /// Whether the sender must be a member of the room.
    pub(crate) by_member: bool,
}

impl Draft {
    /// With this number and time.
    pub(crate) fn numbered(&self, Last { n, at }: Last) -> RawDocumentBuf {
        let at = DateTime::from_millis(at.0);
        let mut document = rawdoc! {
            "_id": { "room": self.room.get(), "n": n },
            "sender": user(&self.sender),
            "text": self.text.as_str(),
            "created_at": at,
            "updated_at": at,
            "write_id": self.write_id,
            // The database puts its own time in this place.
            "stamp": Timestamp { time: 0, increment: 0 },
        };
        if let Some(client_id) = &self.client_id {
            document.append(cstr!("client_id"), client_id.as_str());
        }
        document
    }
}

/// `{room, n}`, a message's `_id`.
pub(crate) fn message_id(room: RoomId, id: MessageId) -> bson::Document {
    bson::doc! { "room": room.get(), "n": id.get() }
}

/// The messages of a room that are not deleted and whose numbers are so. One that is deleted has no text, and isn't in the
/// index that this is read from: however many were deleted in a row, none of them is looked at.
pub(super) fn alive(room: RoomId, n: bson::Document) -> bson::Document {
    bson::doc! { "_id.room": room.get(), "_id.n": n, "text": { "$exists": true } }
}

/// The order of [`alive`] messages: 1 upwards, -1 downwards.
pub(super) fn by_number(direction: i32) -> bson::Document {
    bson::doc! { "_id.n": direction }
}

/// `{room, user}`, a member's `_id`.
pub(crate) fn member_id(room: RoomId, user: &UserId) -> bson::Document {
    bson::doc! { "room": room.get(), "user": user_bson(user) }
}

/// The range of all `_id`s of a room, for messages (`last` is `n`) and members (`last` is `user`).
pub(crate) fn of_room(room: RoomId, last: &str) -> bson::Document {
    bson::doc! {
        "$gte": { "room": room.get(), last: Bson::MinKey },
        "$lte": { "room": room.get(), last: Bson::MaxKey },
    }
}

/// A user's id as a value of BSON.
pub(crate) fn user(user: &UserId) -> RawBson {
    match user {
        UserId::Int(n) => RawBson::Int64(*n),
        UserId::Name(name) => RawBson::String(name.to_string()),
    }
}

/// The same, for documents that are built the slow way.
pub(crate) fn user_bson(id: &UserId) -> Bson {
    match id {
        UserId::Int(n) => Bson::Int64(*n),
        UserId::Name(name) => Bson::String(name.to_string()),
    }
}

/// A user's id of a value of BSON.
pub(crate) fn read_user(value: RawBsonRef<'_>) -> Result<UserId, Undecodable> {
    let fault = || Undecodable("a user's id is neither an integer nor a string".to_owned());
    match value {
        RawBsonRef::Int64(n) => Ok(UserId::Int(n)),
        RawBsonRef::Int32(n) => Ok(UserId::Int(n.into())),
        RawBsonRef::String(name) => UserId::from_stored(name).map_err(|_| fault()),
        _ => Err(fault()),
    }
}

/// The room and the number in a message's `_id`.
pub(crate) fn read_message_id(id: &RawDocument) -> Result<(RoomId, MessageId), Undecodable> {
    let n = MessageId::try_from(read_int(id, "n")?).map_err(|error| Undecodable(error.to_string()))?;
    Ok((read_room(id)?, n))
}

/// The user in a member's `_id`.
pub(crate) fn read_member_user(id: &RawDocument) -> Result<UserId, Undecodable> {
    read_user(id.get("user")?.unwrap_or(RawBsonRef::Null))
}

/// The room in an `_id`.
pub(crate) fn read_room(id: &RawDocument) -> Result<RoomId, Undecodable> {
    RoomId::try_from(read_int(id, "room")?).map_err(|error| Undecodable(error.to_string()))
}

/// The room whose own document this is, or whose key.
pub(crate) fn read_room_id(document: &RawDocument) -> Result<RoomId, Undecodable> {
    RoomId::try_from(read_int(document, "_id")?).map_err(|error| Undecodable(error.to_string()))
}

/// A number, whichever width a shell or another driver gave it.
pub(crate) fn read_int(document: &RawDocument, key: &str) -> Result<i64, Undecodable> {
    match document.get(key)? {
        Some(RawBsonRef::Int64(n)) => Ok(n),
        Some(RawBsonRef::Int32(n)) => Ok(n.into()),
        _ => Err(Undecodable(format!("`{key}` is not an integer"))),
    }
}

/// The same, where it may be missing.
pub(crate) fn read_int_if_any(document: &RawDocument, key: &str) -> Result<Option<i64>, Undecodable> {
    if document.get(key)?.is_none() { Ok(None) } else { read_int(document, key).map(Some) }
}

pub(crate) fn read_time(document: &RawDocument, key: &str) -> Result<Time, Undecodable> {
    Ok(Time(document.get_datetime(key)?.timestamp_millis()))
}

/// The id of a request, where it is there.
pub(crate) fn read_request(document: &RawDocument, key: &str) -> Result<Option<ObjectId>, Undecodable> {
    match document.get(key)? {
        Some(RawBsonRef::ObjectId(id)) => Ok(Some(id)),
        _ => Ok(None),
    }
}

/// What revised a message last, of its document or of an update's fields.
pub(crate) fn read_revision(document: &RawDocument) -> Result<Revision, Undecodable> {
    let edit = match document.get("edit")? {
        Some(RawBsonRef::Document(edit)) => read_request(edit, "id")?,
        _ => None,
    };
    let request = match edit {
        Some(id) => Some(id),
        None => read_request(document, "deletion")?,
    };
    Ok(Revision { number: read_int_if_any(document, "rev")?, request })
}

/// The text and the time of an edit, of an update's fields; none where it is no edit.
///
/// They stand whole in `edit`, for a change event names only what differs. A server of an older version has the time
/// beside it.
pub(crate) fn read_edit(fields: &RawDocument) -> Result<Option<(String, Time)>, Undecodable> {
    let Some(RawBsonRef::Document(edit)) = fields.get("edit")? else { return Ok(None) };
    let at = if edit.get("at")?.is_some() { read_time(edit, "at") } else { read_time(fields, "updated_at") };
    Ok(Some((edit.get_str("text")?.to_owned(), at?)))
}

/// When the database took a write, by its own time, which is no later than that of the commit; none where a server of an
/// older version wrote it.
pub(crate) fn read_stamp(document: &RawDocument, key: &str) -> Result<Option<Timestamp>, Undecodable> {
    match document.get(key)? {
        Some(RawBsonRef::Timestamp(time)) => Ok(Some(time)),
        _ => Ok(None),
    }
}

/// What a membership's beginning is written as. The database puts its own time in this place, when it takes the insert.
pub(crate) const BEGINS: Timestamp = Timestamp { time: 0, increment: 0 };

/// When a membership began, by the database's own time, which is no later than that of the commit. A user who leaves a
/// room and enters it again has another beginning, which is later than the end of the membership before.
///
/// A server of an older version noted the clock alone: the same instant, less finely.
pub(crate) fn read_beginning(member: &RawDocument) -> Result<Timestamp, Undecodable> {
    if let Some(stamp) = read_stamp(member, "joined")?.filter(|stamp| *stamp > BEGINS) {
        return Ok(stamp);
    }
    let ms = read_time(member, "joined_at")?.0;
    let time = u32::try_from(ms.div_euclid(1000)).unwrap_or_default();
    Ok(Timestamp { time, increment: u32::try_from(ms.rem_euclid(1000)).unwrap_or_default() })
}

/// A message; none where it is a tombstone.
pub(crate) fn read_message(document: &RawDocument) -> Result<Option<StoredMessage>, Undecodable> {
    let (_, id) = read_message_id(document.get_document("_id")?)?;
    if document.get("deleted_at")?.is_some() {
        return Ok(None);
    }
    let sender = document.get("sender")?.ok_or_else(|| Undecodable("no `sender`".to_owned()))?;
    Ok(Some(StoredMessage {
        id,
        sender: read_user(sender)?,
        text: document.get_str("text")?.to_owned(),
        created_at: read_time(document, "created_at")?,
        updated_at: read_time(document, "updated_at")?,
        write_id: read_request(document, "write_id")?,
    }))
}

/// A room; none where it is deleted, and only what was in it may still be there.
pub(crate) fn read_room_document(document: &RawDocument) -> Result<Option<StoredRoom>, Undecodable> {
    if document.get("deleted_at")?.is_some() {
        return Ok(None);
    }
    let id = read_room_id(document)?;
    let kind = match document.get_str("kind")? {
        "direct" => StoredRoomKind::Direct,
        "group" => StoredRoomKind::Group,
        _ => return Err(Undecodable("`kind` is neither direct nor group".to_owned())),
    };
    let name = match document.get("name")? {
        Some(RawBsonRef::String(name)) => Some(name.to_owned()),
        _ => None,
    };
    Ok(Some(StoredRoom { id, kind, name, created_at: read_time(document, "created_at")? }))
}

/// A role as it is stored.
pub(crate) const fn role(role: Role) -> &'static str {
    match role {
        Role::Member => "member",
        Role::Admin => "admin",
    }
}

/// A member.
pub(crate) fn read_member(document: &RawDocument) -> Result<StoredMember, Undecodable> {
    let id = document.get_document("_id")?;
    let user = id.get("user")?.ok_or_else(|| Undecodable("no `_id.user`".to_owned()))?;
    let email = match document.get("email")? {
        Some(RawBsonRef::String(email)) => Some(email.to_owned()),
        _ => None,
    };
    Ok(StoredMember {
        user: read_user(user)?,
        email,
        role: read_role(document)?,
        marks: Marks {
            delivered: read_int_if_any(document, "delivered")?.unwrap_or_default(),
            read: read_int_if_any(document, "read")?.unwrap_or_default(),
        },
        pending: consent::is_pending(document)?,
    })
}

fn read_role(member: &RawDocument) -> Result<Role, Undecodable> {
    match member.get("role")? {
        Some(RawBsonRef::String("admin")) => Ok(Role::Admin),
        None | Some(RawBsonRef::String("member")) => Ok(Role::Member),
        _ => Err(Undecodable("`role` is neither member nor admin".to_owned())),
    }
}

/// The documents of an array.
pub(super) fn documents_in<'a>(
    document: &'a RawDocument,
    key: &str,
) -> Result<Vec<&'a RawDocument>, Undecodable> {
    let documents = document.get_array(key)?.into_iter();
    let read = |item: bson::error::Result<RawBsonRef<'a>>| {
        item?.as_document().ok_or_else(|| Undecodable::new("a list of something else than documents"))
    };
    documents.map(read).collect()
}
