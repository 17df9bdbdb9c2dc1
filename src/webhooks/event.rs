//! Webhook events, built from the changes in MongoDB's change stream. The `id` of an event is derived from its content.
//! Therefore an event that is sent twice, or by several servers, always has the same `id`.

use bson::oid::ObjectId;
use bson::{Document, RawBsonRef, RawDocument, Timestamp, doc};
use handlers::{MessageId, RoomId, Time, UserId};
use serde::Serialize;

use crate::functions::call::Export;
use crate::store::codec::{self, Undecodable};
use crate::store::users::presence;

/// A source of events: one change stream. The events of a source have one common order, even if they are for different
/// hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventSource {
    AfterSend,
    Offline,
    /// The events `connected` and `disconnected`. The two kinds share one source, so that the events of each user keep
    /// their order.
    Presence,
}

/// The hooks that receive events. Each hook has its own URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookKind {
    AfterSend,
    Connected,
    Disconnected,
    Offline,
}

/// One event for one hook.
#[derive(Clone, Debug)]
pub(super) struct WebhookEvent {
    /// The hook that receives the event.
    pub(super) kind: HookKind,
    pub(super) id: String,
    /// The time of the change, by the database's clock.
    pub(super) at: Time,
    pub(super) what: EventPayload,
}

/// A lane: the room or the user that an event belongs to. Events of one lane are delivered one after the other, in
/// order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    Room(RoomId),
    User(UserId),
}

/// The content of an event, in the form of the request's JSON body.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum EventPayload {
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
        /// The id of the request that made the edit.
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
struct WebhookBody<'a> {
    id: &'a str,
    hook: &'static str,
    /// For the hook `offline`: the offline member who missed the message. Otherwise None.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a UserId>,
    #[serde(flatten)]
    what: &'a EventPayload,
}

impl HookKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AfterSend => "after_send",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Offline => "offline",
        }
    }

    /// Returns the export by which a function file is this hook.
    pub(crate) const fn export(self) -> Export {
        match self {
            Self::AfterSend => Export::AfterSend,
            Self::Connected => Export::Connected,
            Self::Disconnected => Export::Disconnected,
            Self::Offline => Export::Offline,
        }
    }

    /// Returns the hook with this name in the configuration. None if no hook has this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let all = [Self::AfterSend, Self::Connected, Self::Disconnected, Self::Offline];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

impl EventSource {
    pub(crate) const ALL: [Self; 3] = [Self::AfterSend, Self::Offline, Self::Presence];

    /// Returns the name under which the source's position and lease are stored.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AfterSend => "after_send",
            Self::Offline => "offline",
            Self::Presence => "presence",
        }
    }

    /// Returns the hooks that receive events of this source.
    pub(crate) const fn kinds(self) -> &'static [HookKind] {
        match self {
            Self::AfterSend => &[HookKind::AfterSend],
            Self::Offline => &[HookKind::Offline],
            Self::Presence => &[HookKind::Connected, HookKind::Disconnected],
        }
    }

    /// Returns the filter for the changes that become events. A stream can resume only if its filter still matches the
    /// change of its resume token. Therefore the filter must stay equal when the configuration changes, and does not
    /// depend on the configured hooks.
    pub(super) fn changes(self) -> Document {
        let online = doc! { "updateDescription.updatedFields.online": { "$in": [true, false] } };
        match self {
            Self::AfterSend => {
                doc! { "ns.coll": "messages", "operationType": { "$in": ["insert", "update", "replace"] } }
            }
            Self::Offline => doc! { "ns.coll": "messages", "operationType": "insert" },
            Self::Presence => {
                // The database reports a removal of a server from a user's presence as a replacement or as an update. A
                // replacement with `online: false` means that the user went offline.
                let replaced = doc! { "operationType": "replace", "fullDocument.online": false };
                doc! { "ns.coll": "presence", "$or": [{ "operationType": "insert" }, online, replaced] }
            }
        }
    }

    /// Builds the event of a change. None if the change causes no event.
    pub(super) fn read(self, change: &RawDocument) -> Result<Option<WebhookEvent>, Undecodable> {
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
            Self::Presence if inserted => {
                Some(EventPayload::Connected { user_id: presence::read_id(id)?, at })
            }
            Self::Presence => {
                let (user_id, fields) = (presence::read_id(id)?, fields_of(change)?);
                let last_seen = match fields.get("last_seen")? {
                    Some(_) => codec::read_time(fields, "last_seen")?,
                    None => at,
                };
                Some(if fields.get_bool("online")? {
                    EventPayload::Connected { user_id, at }
                } else {
                    EventPayload::Disconnected { user_id, last_seen }
                })
            }
        };
        let time = change.get_timestamp("clusterTime")?;
        Ok(what.map(|what| WebhookEvent::new(self, what, at, time)))
    }

    fn kind(self, what: &EventPayload) -> HookKind {
        match (self, what) {
            (_, EventPayload::Connected { .. }) => HookKind::Connected,
            (_, EventPayload::Disconnected { .. }) => HookKind::Disconnected,
            (Self::Offline, _) => HookKind::Offline,
            (Self::AfterSend | Self::Presence, _) => HookKind::AfterSend,
        }
    }
}

/// Returns the fields that a change has set. The database may report an update by a pipeline as a replacement. For a
/// replacement, returns the whole document.
fn fields_of(change: &RawDocument) -> Result<&RawDocument, Undecodable> {
    match change.get_str("operationType")? {
        "replace" => Ok(change.get_document("fullDocument")?),
        _ => Ok(change.get_document("updateDescription")?.get_document("updatedFields")?),
    }
}

/// Builds the event of a new message. None if the message is already deleted.
pub(super) fn sent(message: &RawDocument) -> Result<Option<EventPayload>, Undecodable> {
    let room_id = codec::read_room(message.get_document("_id")?)?;
    Ok(codec::read_message(message)?.map(|message| EventPayload::Sent {
        room_id,
        message_id: message.id,
        sender_id: message.sender,
        text: message.text,
        created_at: message.created_at,
    }))
}

/// Builds the event of an edit or a deletion from the fields that a change has set. None if the change is neither an
/// edit nor a deletion.
pub(super) fn changed(id: &RawDocument, fields: &RawDocument) -> Result<Option<EventPayload>, Undecodable> {
    let (room_id, message_id) = codec::read_message_id(id)?;
    if fields.get("deleted_at")?.is_some() {
        let deleted_at = codec::read_time(fields, "deleted_at")?;
        return Ok(Some(EventPayload::Deleted { room_id, message_id, deleted_at }));
    }
    let Some((text, updated_at)) = codec::read_edit(fields)? else { return Ok(None) };
    let edit = fields.get_document("edit")?.get_object_id("id")?;
    Ok(Some(EventPayload::Edited { room_id, message_id, edit, text, updated_at }))
}

impl EventPayload {
    /// Returns the event's `id`. `time` is the cluster time of the change (a time of MongoDB's logical clock). For the
    /// event `connected`, this time makes the id unique.
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

impl WebhookEvent {
    /// Creates an event. `at` is the time of the change by the database's clock, and `time` is the cluster time of the
    /// change. For an event of the backfill, `time` is the cluster time of the position from which the stream can't
    /// continue.
    pub(super) fn new(source: EventSource, what: EventPayload, at: Time, time: Timestamp) -> Self {
        Self { kind: source.kind(&what), id: what.id(time), at, what }
    }

    /// Returns the event's lane: its room, or its user.
    pub(super) fn lane(&self) -> Lane {
        match &self.what {
            EventPayload::Sent { room_id, .. }
            | EventPayload::Edited { room_id, .. }
            | EventPayload::Deleted { room_id, .. } => Lane::Room(*room_id),
            EventPayload::Connected { user_id, .. } | EventPayload::Disconnected { user_id, .. } => {
                Lane::User(user_id.clone())
            }
        }
    }

    /// Returns the HTTP request for this event. For the hook `offline`, `user` is the offline member. For other hooks,
    /// `user` is None.
    pub(super) fn post(&self, user: Option<UserId>) -> Result<WebhookRequest, serde_json::Error> {
        let id = match &user {
            Some(user) => format!("offline-{}-{user}", self.id.trim_start_matches("sent-")),
            None => self.id.clone(),
        };
        let body = body(&id, self.kind, user.as_ref(), &self.what)?;
        Ok(WebhookRequest { id, user, body })
    }
}

/// One HTTP request to a hook's receiver.
pub(super) struct WebhookRequest {
    /// The id in the request's body: the event's `id`. The hook `offline` sends one request for each offline member.
    /// Therefore the ids of these requests also contain the member's id.
    pub(super) id: String,
    /// For the hook `offline`: the offline member who missed the message. Otherwise None.
    pub(super) user: Option<UserId>,
    pub(super) body: String,
}

/// Returns the JSON body of a request.
pub(super) fn body(
    id: &str,
    kind: HookKind,
    user: Option<&UserId>,
    what: &EventPayload,
) -> Result<String, serde_json::Error> {
    serde_json::to_string(&WebhookBody { id, hook: kind.name(), user_id: user, what })
}
