//! Generates the contract of the chat socket from the types, limits, events and errors of this crate. The contract is
//! an `AsyncAPI` 3 document.

mod channel;
mod examples;

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use self::channel::{ALL, CHAT, Channel, INBOX, message};
use crate::{
    Action, CallSchema, Code, ErrorFrame, Event, HistoryMessage, InboxEvent, Level, Ready, Resumed, UserId,
};

/// The errors that any action can fail with. Each action declares its further errors in its `SPEC`.
const ANY_ACTION: &[Code] = &[
    Code::BadJson,
    Code::UnknownAction,
    Code::InvalidRequest,
    Code::Rejected,
    Code::RateLimited,
    Code::Timeout,
    Code::Unavailable,
    Code::Internal,
];

/// Returns the whole contract of the chat socket. `closes` holds each close code, and the condition under which the
/// server uses it.
pub fn asyncapi(actions: &[Action], closes: &[(u16, &str)]) -> Value {
    let (mut takes, mut gives) = (generator(false), generator(true));
    let mut messages = Map::new();
    let mut operations = Map::new();
    let mut said: Vec<String> = ["first_history", "resumed", "ready", "error"].map(str::to_owned).into();

    let history = of::<Vec<HistoryMessage>>(&mut gives);
    let first = message("The first frame of a basic connection (Level 1)", &history, &[Level::Basic]);
    messages.insert("first_history".to_owned(), first);
    let resumed = tagged("type", "resumed", of::<Resumed>(&mut gives));
    let first = message("The first frame of a resumable connection (Level 2)", &resumed, &[Level::Resumable]);
    messages.insert("resumed".to_owned(), first);
    let error = with_ref(tagged("type", "error", of::<ErrorFrame>(&mut gives)));
    messages.insert("error".to_owned(), message("The answer to a frame that can't be done", &error, ALL));
    let ready = tagged("type", "ready", of::<Ready>(&mut gives));
    let first = message("The first frame of an inbox connection (Level 3)", &ready, INBOX.levels);
    messages.insert("ready".to_owned(), first);
    for event in one_of(of::<Event>(&mut gives)) {
        let Some(kind) = kind_of(&event) else { continue };
        // There is also an action `typing`, so the message of the event needs another name.
        let is_typing = kind == "typing";
        let name = if is_typing { "typing_event".to_owned() } else { kind.clone() };
        said.push(name.clone());
        let levels = if is_typing { &ALL[1..] } else { ALL };
        let event = with_extras(event, &kind);
        messages.insert(name, message("For every socket of the room", &event, levels));
    }
    for event in one_of(of::<InboxEvent>(&mut gives)) {
        let Some(kind) = kind_of(&event) else { continue };
        said.push(kind.clone());
        let event = if kind == "presence" { event } else { with_cursor(with_room(event)) };
        messages.insert(kind, message("For inbox connections (Level 3)", &event, INBOX.levels));
    }
    for action in actions {
        let CallSchema { request, .. } = (action.schema)(&mut takes);
        let CallSchema { answer, .. } = (action.schema)(&mut gives);
        let levels: Vec<_> = ALL.iter().copied().filter(|level| *level >= action.spec.level).collect();
        let request = with_ref(tagged("action", action.name, request.into()));
        messages.insert(action.name.to_owned(), message("From a client", &request, &levels));
        let answered = answer.map(|answer| {
            let name = format!("{}_answer", action.name);
            let answer = with_ref(only_one(answer.into()));
            messages.insert(name.clone(), message("For the caller's own socket", &answer, &levels));
            name
        });
        for (prefix, channel) in [("", &CHAT), ("inbox_", &INBOX)] {
            if channel.has_any(&levels) {
                let operation = operation(action, answered.as_deref(), channel);
                operations.insert(format!("{prefix}{}", action.name), operation);
            }
        }
    }
    examples::add(&mut messages);
    operations.insert("tell".to_owned(), CHAT.told(
        "The frames that the server sends by itself: the first frame, then events in the order of their commits.",
        &said, &messages,
    ));
    operations.insert("tell_of_all_rooms".to_owned(), INBOX.told(
        "The frames that the server sends by itself on an inbox connection: the rooms first, then events.",
        &said, &messages,
    ));
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Parlor",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Chat over WebSockets, on a connection for one room or for all rooms of a user. The subprotocols are `Bearer` and the token. `x-levels` lists the connection modes in which a message exists: 1 (basic) and 2 (resumable) for one room, without and with `since`; 3 (inbox) for all rooms. docs/protocol.md explains them.",
        },
        "defaultContentType": "application/json",
        "channels": { "inbox": {
            "address": "/ws/",
            "description": "All rooms of the caller. Every action is the same as on the other channel, and names its `room_id`. The close codes are the same, too.",
            "messages": INBOX.listed(&messages),
            "bindings": { "ws": { "method": "GET", "query": since(), "headers": headers() } },
        }, "chat": {
            "address": "/ws/chat/",
            "messages": CHAT.listed(&messages),
            "bindings": { "ws": { "method": "GET", "query": query(&mut gives), "headers": headers() } },
            "x-close-codes": closes.iter().map(|(code, when)| (code.to_string(), json!(when))).collect::<Map<_, _>>(),
        } },
        "operations": operations,
        "components": { "messages": messages },
    })
}

/// Returns a generator of inlined schemas. If `written` is true, the schemas describe frames that the server writes.
/// Otherwise they describe frames that the server parses.
fn generator(written: bool) -> SchemaGenerator {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    if written { settings.for_serialize() } else { settings.for_deserialize() }.into_generator()
}

fn of<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().into()
}

fn one_of(schema: Value) -> Vec<Value> {
    match schema {
        Value::Object(mut schema) => match schema.remove("oneOf") {
            Some(Value::Array(alternatives)) => alternatives,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Returns the only alternative of a schema that has exactly one `oneOf` alternative. Returns any other schema
/// unchanged.
fn only_one(schema: Value) -> Value {
    match one_of(schema.clone()).as_slice() {
        [one] => one.clone(),
        _ => schema,
    }
}

/// Adds the field that identifies a frame: `tag` with the constant `name`.
fn tagged(tag: &str, name: &str, schema: Value) -> Value {
    let mut schema = match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    let properties = schema.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        properties.insert(tag.to_owned(), json!({ "const": name }));
    }
    let required = schema.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        required.insert(0, json!(tag));
    }
    schema.into()
}

/// Adds the fields `ref` and `room_id`.
fn with_ref(schema: Value) -> Value {
    let schema = with_room(schema);
    let is = json!({ "type": "string", "maxLength": 64, "description": "The frame's own reference, up to 64 characters. Its reply, error or event carries it back." });
    with_field(schema, "ref", &is)
}

/// Adds the fields that an event has only on some sockets: `room_id`, `cursor` and `ref`.
fn with_extras(event: Value, name: &str) -> Value {
    if name == "typing" {
        return with_room(event);
    }
    let event = with_room(with_cursor(event));
    if matches!(name, "chat_message" | "message_edited" | "message_deleted") {
        with_ref(event)
    } else {
        event
    }
}

fn with_cursor(event: Value) -> Value {
    let is = json!({ "type": "string", "description": "The cursor after this event. Absent on basic connections (Level 1)." });
    with_field(event, "cursor", &is)
}

fn with_room(schema: Value) -> Value {
    let is = json!({ "type": "integer", "description": "The room, on inbox connections (Level 3)." });
    with_field(schema, "room_id", &is)
}

fn kind_of(event: &Value) -> Option<String> {
    event.pointer("/properties/type/const").and_then(Value::as_str).map(str::to_owned)
}

fn with_field(mut schema: Value, name: &str, is: &Value) -> Value {
    // If the schema has several alternatives, each alternative gets the field.
    if let Some(Value::Array(alternatives)) = schema.get_mut("oneOf") {
        for alternative in alternatives {
            *alternative = with_field(alternative.take(), name, is);
        }
        return schema;
    }
    if let Some(schema) = schema.as_object_mut() {
        let properties = schema.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert(name.to_owned(), is.clone());
        }
    }
    schema
}

fn operation(action: &Action, answered: Option<&str>, channel: &Channel) -> Value {
    let names = |codes: &[Code]| codes.iter().map(|code| code.as_str()).collect::<Vec<_>>();
    let limits = action.spec.limits;
    let mut operation = json!({
        "action": "receive",
        "channel": { "$ref": channel.reference },
        "messages": [channel.reference_to(action.name)],
        "x-emits": action.spec.emits.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        "x-fails": names(action.spec.fails),
        "x-fails-as-any-action": names(ANY_ACTION),
        "x-limits": {
            "counts_as_message": limits.message,
            "per_minute": limits.per_minute,
            "burst": limits.burst,
            "max_bytes": limits.max_bytes,
            "timeout_ms": limits.timeout_ms,
            "max_in_flight": limits.max_in_flight,
        },
    });
    if let Some(name) = answered {
        operation["reply"] =
            json!({ "channel": { "$ref": channel.reference }, "messages": [channel.reference_to(name)] });
    }
    operation
}

fn query(generator: &mut SchemaGenerator) -> Value {
    let user: Schema = generator.subschema_for::<UserId>();
    json!({
        "type": "object",
        "description": "The caller and the other user, or the room. Any value may end in one `/`.",
        "properties": {
            "firts_user": user,
            "first_user": { "description": "The same as `firts_user`. Only one of the two may be given." },
            "second_user": user,
            "room_id": { "type": "integer", "minimum": 1, "description": "The room, instead of `second_user`." },
            "since": since()["properties"]["since"],
            "receipts": { "const": "manual", "description": "Manual read receipts: the client reports with `read` what was read. `delivered` stays automatic." },
        },
    })
}

fn since() -> Value {
    json!({ "type": "object", "properties": { "since": {
        "type": "string",
        "description": "The last cursor, or empty for a first connection. Makes a connection to one room resumable (Level 2).",
    } } })
}

fn headers() -> Value {
    json!({
        "type": "object",
        "properties": {
            "Sec-WebSocket-Protocol": { "type": "string", "description": "`Bearer` and the token, in either order." },
            "Authorization": { "type": "string", "description": "`Bearer <token>`, for clients that can set headers." },
        },
    })
}
