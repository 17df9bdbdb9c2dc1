//! What a hook is told, as the change stream has it. An event's `id` is made of what it is about, so that it is the
//! same whoever tells it, however often.

use bson::oid::ObjectId;
use bson::{Document, RawBsonRef, RawDocument, Timestamp, doc};
use handlers::{MessageId, RoomId, Time, UserId};
use serde::Serialize;

use crate::store::documents::{self, Undecodable};
use crate::store::presence;

/// The hooks that are told what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    AfterSend,
    Connected,
    Disconnected,
    Offline,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) id: String,
    /// When, by the database's clock.
    pub(super) at: Time,
    pub(super) what: What,
}

/// What is told one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    Room(RoomId),
    User(UserId),
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum What {
    Sent {
        room_id: RoomId,
        message_id: MessageId,
        sender_id: UserId,
        text: String,
        created_at: Time,
    },
    Edited {
        room_id: RoomId,
        message_id: MessageId,
        /// The request that did it.
        #[serde(skip)]
        edit: ObjectId,
        text: String,
        updated_at: Time,
    },
    Deleted {
        room_id: RoomId,
        message_id: MessageId,
        deleted_at: Time,
    },
    Connected {
        user_id: UserId,
        at: Time,
    },
    Disconnected {
        user_id: UserId,
        last_seen: Time,
    },
}

/// The body of a request.
#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    hook: &'static str,
    /// Whom an offline message is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a UserId>,
    #[serde(flatten)]
    what: &'a What,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AfterSend => "after_send",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Offline => "offline",
        }
    }

    /// The changes in which its events are.
    pub(super) fn changes(self) -> Document {
        let online = |online: bool| doc! { "updateDescription.updatedFields.online": online };
        match self {
            Self::AfterSend => {
                doc! { "ns.coll": "messages", "operationType": { "$in": ["insert", "update", "replace"] } }
            }
            Self::Offline => doc! { "ns.coll": "messages", "operationType": "insert" },
            Self::Connected => {
                doc! { "ns.coll": "presence", "$or": [{ "operationType": "insert" }, online(true)] }
            }
            // Only a going makes the document one of somebody who isn't there.
            Self::Disconnected => {
                let replaced = doc! { "operationType": "replace", "fullDocument.online": false };
                doc! { "ns.coll": "presence", "$or": [online(false), replaced] }
            }
        }
    }

    /// The event of a change, where it is one.
    pub(super) fn read(self, change: &RawDocument) -> Result<Option<Event>, Undecodable> {
        let id = change.get_document("documentKey")?;
        let inserted = change.get_str("operationType")? == "insert";
        let at = match change.get("wallTime")?.and_then(RawBsonRef::as_datetime) {
            Some(at) => Time(at.timestamp_millis()),
            None => Time(i64::from(change.get_timestamp("clusterTime")?.time) * 1000),
        };
        let what = match self {
            Self::AfterSend | Self::Offline if inserted => sent(change.get_document("fullDocument")?)?,
            Self::AfterSend => changed(id.get_document("_id")?, fields_of(change)?)?,
            Self::Offline => None,
            Self::Connected => Some(What::Connected { user_id: presence::read_id(id)?, at }),
            Self::Disconnected => {
                let fields = fields_of(change)?;
                let last_seen = match fields.get("last_seen")? {
                    Some(_) => documents::read_time(fields, "last_seen")?,
                    None => at,
                };
                Some(What::Disconnected { user_id: presence::read_id(id)?, last_seen })
            }
        };
        let time = change.get_timestamp("clusterTime")?;
        Ok(what.map(|what| Event::new(what, at, time)))
    }
}

/// What a change has set; of an update by a pipeline the database may tell the whole document instead.
fn fields_of(change: &RawDocument) -> Result<&RawDocument, Undecodable> {
    match change.get_str("operationType")? {
        "replace" => Ok(change.get_document("fullDocument")?),
        _ => Ok(change.get_document("updateDescription")?.get_document("updatedFields")?),
    }
}

/// A new message; none where it is deleted already, and its text gone.
pub(super) fn sent(message: &RawDocument) -> Result<Option<What>, Undecodable> {
    let room_id = documents::read_room(message.get_document("_id")?)?;
    Ok(documents::read_message(message)?.map(|message| What::Sent {
        room_id,
        message_id: message.id,
        sender_id: message.sender,
        text: message.text,
        created_at: message.created_at,
    }))
}

/// An edit or a delete, as the fields of a message say that were set.
pub(super) fn changed(id: &RawDocument, fields: &RawDocument) -> Result<Option<What>, Undecodable> {
    let (room_id, message_id) = documents::read_message_id(id)?;
    if fields.get("deleted_at")?.is_some() {
        let deleted_at = documents::read_time(fields, "deleted_at")?;
        return Ok(Some(What::Deleted { room_id, message_id, deleted_at }));
    }
    let Some((text, updated_at)) = documents::read_edit(fields)? else { return Ok(None) };
    let edit = fields.get_document("edit")?.get_object_id("id")?;
    Ok(Some(What::Edited { room_id, message_id, edit, text, updated_at }))
}

impl What {
    /// `time` is for what has nothing of its own to be told from another of its kind.
    fn id(&self, time: Timestamp) -> String {
        match self {
            Self::Sent { room_id, message_id, .. } => format!("sent-{room_id}-{}", message_id.get()),
            Self::Edited { room_id, message_id, edit, .. } => {
                format!("edited-{room_id}-{}-{edit}", message_id.get())
            }
            Self::Deleted { room_id, message_id, .. } => format!("deleted-{room_id}-{}", message_id.get()),
            Self::Connected { user_id, .. } => {
                format!("connected-{}-{}-{user_id}", time.time, time.increment)
            }
            Self::Disconnected { user_id, last_seen } => format!("disconnected-{}-{user_id}", last_seen.0),
        }
    }
}

impl Event {
    /// `at` and `time` are those of the change, or of the place in the stream that it was found after.
    pub(super) fn new(what: What, at: Time, time: Timestamp) -> Self {
        Self { id: what.id(time), at, what }
    }

    pub(super) fn lane(&self) -> Lane {
        match &self.what {
            What::Sent { room_id, .. } | What::Edited { room_id, .. } | What::Deleted { room_id, .. } => {
                Lane::Room(*room_id)
            }
            What::Connected { user_id, .. } | What::Disconnected { user_id, .. } => {
                Lane::User(user_id.clone())
            }
        }
    }

    /// The request that tells it.
    pub(super) fn body(&self, kind: Kind) -> Result<String, serde_json::Error> {
        let body = Body { id: &self.id, hook: kind.name(), user_id: None, what: &self.what };
        serde_json::to_string(&body)
    }

    /// The request that tells of a message for a user who isn't there.
    pub(super) fn body_for(&self, user: &UserId) -> Result<String, serde_json::Error> {
        let id = format!("offline-{}-{user}", self.id.trim_start_matches("sent-"));
        let body = Body { id: &id, hook: Kind::Offline.name(), user_id: Some(user), what: &self.what };
        serde_json::to_string(&body)
    }
}
