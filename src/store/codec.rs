//! Converts documents of the database to Parlor's types, and back.
//!
//! A document in an unexpected form causes the error [`Undecodable`]. The code never panics, and never skips a document
//! silently. The caller decides what happens after the error.

use std::fmt;

use bson::oid::ObjectId;
use bson::{Bson, RawBson, RawBsonRef, RawDocument, Timestamp};
use handlers::{MessageId, Role, RoomId, Time, UserId};

use super::rooms::consent;
use crate::model::cluster_time;
use crate::model::message::{Revision, StoredMessage};
use crate::model::receipts::Marks;
use crate::model::room::{StoredMember, StoredRoom, StoredRoomKind};

/// The error for a stored document in an unexpected form. The text says what is wrong.
#[derive(Debug)]
pub(crate) struct Undecodable(String);

impl Undecodable {
    /// Creates the error from a description.
    pub(crate) fn new(fault: &str) -> Self {
        Self(fault.to_owned())
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "could not decode a stored document: {}", self.0)
    }
}

impl std::error::Error for Undecodable {}

impl From<bson::error::Error> for Undecodable {
    fn from(error: bson::error::Error) -> Self {
        Self(error.to_string())
    }
}

/// Returns `{room, n}`, the `_id` of a message.
pub(crate) fn message_id(room: RoomId, id: MessageId) -> bson::Document {
    bson::doc! { "room": room.get(), "n": id.get() }
}

/// Returns a filter for the messages of a room that are not deleted. `n` is a condition for the messages' numbers. A
/// deleted message has no text, and this filter uses an index that contains only messages with a text. Therefore
/// deleted messages do not slow down a read.
pub(super) fn alive(room: RoomId, n: bson::Document) -> bson::Document {
    bson::doc! { "_id.room": room.get(), "_id.n": n, "text": { "$exists": true } }
}

/// Returns the sort order by message number for a read with the filter [`alive`]. `direction` is 1 for ascending and -1
/// for descending.
pub(super) fn by_number(direction: i32) -> bson::Document {
    bson::doc! { "_id.n": direction }
}

/// Returns `{room, user}`, the `_id` of a member.
pub(crate) fn member_id(room: RoomId, user: &UserId) -> bson::Document {
    bson::doc! { "room": room.get(), "user": user_bson(user) }
}

/// Returns a filter for the `_id`s of all messages or members of a room. `last` is the name of the last field of the
/// `_id`: `n` for messages and `user` for members.
pub(crate) fn of_room(room: RoomId, last: &str) -> bson::Document {
    bson::doc! {
        "$gte": { "room": room.get(), last: Bson::MinKey },
        "$lte": { "room": room.get(), last: Bson::MaxKey },
    }
}

/// Encodes a user's id for a raw document (`RawDocument`).
pub(crate) fn user(user: &UserId) -> RawBson {
    match user {
        UserId::Int(n) => RawBson::Int64(*n),
        UserId::Name(name) => RawBson::String(name.to_string()),
    }
}

/// Encodes a user's id for an ordinary document (`Document`).
pub(crate) fn user_bson(id: &UserId) -> Bson {
    match id {
        UserId::Int(n) => Bson::Int64(*n),
        UserId::Name(name) => Bson::String(name.to_string()),
    }
}

/// Decodes a user's id.
pub(crate) fn read_user(value: RawBsonRef<'_>) -> Result<UserId, Undecodable> {
    let fault = || Undecodable("a user's id is neither an integer nor a string".to_owned());
    match value {
        RawBsonRef::Int64(n) => Ok(UserId::Int(n)),
        RawBsonRef::Int32(n) => Ok(UserId::Int(n.into())),
        RawBsonRef::String(name) => UserId::from_stored(name).map_err(|_| fault()),
        _ => Err(fault()),
    }
}

/// Reads the room and the number from a message's `_id`.
pub(crate) fn read_message_id(id: &RawDocument) -> Result<(RoomId, MessageId), Undecodable> {
    let n = MessageId::try_from(read_int(id, "n")?).map_err(|error| Undecodable(error.to_string()))?;
    Ok((read_room(id)?, n))
}

/// Reads the user from a member's `_id`.
pub(crate) fn read_member_user(id: &RawDocument) -> Result<UserId, Undecodable> {
    read_user(id.get("user")?.unwrap_or(RawBsonRef::Null))
}

/// Reads the room from the `_id` of a message or a member.
pub(crate) fn read_room(id: &RawDocument) -> Result<RoomId, Undecodable> {
    RoomId::try_from(read_int(id, "room")?).map_err(|error| Undecodable(error.to_string()))
}

/// Reads the room's id from the `_id` of the room's own document.
pub(crate) fn read_room_id(document: &RawDocument) -> Result<RoomId, Undecodable> {
    RoomId::try_from(read_int(document, "_id")?).map_err(|error| Undecodable(error.to_string()))
}

/// Reads an integer of 32 or 64 bits. Another program, such as `mongosh`, may have written either type.
pub(crate) fn read_int(document: &RawDocument, key: &str) -> Result<i64, Undecodable> {
    match document.get(key)? {
        Some(RawBsonRef::Int64(n)) => Ok(n),
        Some(RawBsonRef::Int32(n)) => Ok(n.into()),
        _ => Err(Undecodable(format!("`{key}` is not an integer"))),
    }
}

/// Reads an integer. Returns none if the field is missing.
pub(crate) fn read_int_if_any(document: &RawDocument, key: &str) -> Result<Option<i64>, Undecodable> {
    if document.get(key)?.is_none() { Ok(None) } else { read_int(document, key).map(Some) }
}

/// Reads a time in milliseconds.
pub(crate) fn read_time(document: &RawDocument, key: &str) -> Result<Time, Undecodable> {
    Ok(Time(document.get_datetime(key)?.timestamp_millis()))
}

/// Reads the id of the request that wrote, edited or deleted a message. Returns none if the field is missing or has
/// another type.
pub(crate) fn read_request(document: &RawDocument, key: &str) -> Result<Option<ObjectId>, Undecodable> {
    match document.get(key)? {
        Some(RawBsonRef::ObjectId(id)) => Ok(Some(id)),
        _ => Ok(None),
    }
}

/// Reads the last revision of a message, from its document or from the updated fields of a change event. A revision is
/// an edit or a deletion, numbered within its room.
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

/// Reads the text and the time of an edit from the updated fields of a change event. Returns none if the update is not
/// an edit.
///
/// The field `edit` repeats the message's text and the time of its last edit. A change event contains only the fields
/// whose values have changed. The field `edit` has a new value after each edit, so the event of an edit always contains
/// this field.
pub(crate) fn read_edit(fields: &RawDocument) -> Result<Option<(String, Time)>, Undecodable> {
    let Some(RawBsonRef::Document(edit)) = fields.get("edit")? else { return Ok(None) };
    Ok(Some((edit.get_str("text")?.to_owned(), read_time(edit, "at")?)))
}

/// Reads the stamp of a write: the cluster time (MongoDB's logical clock) at the write. The stamp is not later than the
/// cluster time at which the write was committed. Returns none if the document has no stamp, because another program
/// inserted the document.
pub(crate) fn read_stamp(document: &RawDocument, key: &str) -> Result<Option<Timestamp>, Undecodable> {
    match document.get(key)? {
        Some(RawBsonRef::Timestamp(time)) => Ok(Some(time)),
        _ => Ok(None),
    }
}

/// Reads the cluster time at which a membership began. It is not later than the time of the commit. If a user leaves a
/// room and joins it again, the new membership has a later time than the old membership. A membership that another
/// program inserted may have no such time. Then it counts as the oldest.
pub(crate) fn read_beginning(member: &RawDocument) -> Result<Timestamp, Undecodable> {
    Ok(read_stamp(member, "joined")?.unwrap_or(cluster_time::ZERO))
}

/// Reads a message. Returns none if the message is deleted.
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

/// Reads a room. Returns none if the room is deleted: the document of a deleted room still exists for some time.
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

/// Returns the stored name of a role.
pub(crate) const fn role(role: Role) -> &'static str {
    match role {
        Role::Member => "member",
        Role::Admin => "admin",
    }
}

/// Reads a membership. Missing receipt markers are read as 0.
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

/// Returns the documents in an array field.
pub(super) fn documents_in<'a>(
    document: &'a RawDocument,
    key: &str,
) -> Result<Vec<&'a RawDocument>, Undecodable> {
    let documents = document.get_array(key)?.into_iter();
    let read = |item: bson::error::Result<RawBsonRef<'a>>| {
        item?.as_document().ok_or_else(|| Undecodable::new("an item of a list is not a document"))
    };
    documents.map(read).collect()
}
