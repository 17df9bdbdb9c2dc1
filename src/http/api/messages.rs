//! `/rooms/{id}/messages`: reads, writes, edits and deletes the messages of a room.
//!
//! A message from the API takes the same path as a message from a socket. The same writer stores messages from the API
//! and from sockets. MongoDB's change stream then brings each message to every socket of the room. Parlor trusts a
//! service key: the rate limits of users don't apply, and the key may edit and delete the messages of every user.

use bson::oid::ObjectId;
use handlers::{Draft, HistoryCursor, RoomId, Text, UserId};
use salvo::prelude::*;
use salvo_oapi::{ToSchema, endpoint};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::idempotency::IdempotentAttempt;
use super::json_body::{Example, JsonBody};
use super::page_query::PageQuery;
use super::path_params::{MessageParam, RoomParam};
use super::problem::{Problem, ProblemCode, ProblemDetails};
use super::response::{Created, NoContent};
use super::strict_json::user_id;
use super::{SharedServices, dto, schema};
use crate::store::messages::draft;
use crate::store::{BoundRoom, RequestAttempt, SMALL_HISTORY, StoreError, Written, begin_by};

/// Returns the routes below `/rooms/{id}`.
pub(super) fn routes() -> Router {
    let one = Router::with_path("{n}").patch(edit_message).delete(delete_message);
    Router::with_path("messages").get(list_messages).post(post_message).push(one)
}

/// A page of a room's messages.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = Messages))]
struct MessagePage {
    /// Newest first. With `after`, oldest first.
    messages: Vec<dto::MessageDto>,
    /// Whether the room has more messages beyond this page: older messages, or newer messages if the request has
    /// `after`.
    has_more: bool,
}

/// Lists a room's messages by pages
///
/// A page has the messages before a given message, the messages after a given message, or the newest messages.
/// Deleted messages are left out.
#[endpoint(operation_id = "list_messages", tags("messages"))]
async fn list_messages(
    services: SharedServices,
    id: RoomParam,
    window: PageQuery,
) -> Result<Json<MessagePage>, Problem> {
    let bytes = services.config.load().limits.page_bytes;
    let (store, _turn) = if window.limit > SMALL_HISTORY {
        services.store.bulk(None).await.map_err(StoreError::from)?
    } else {
        (services.store.clone(), None)
    };
    let read = store.history(id.0, window.from, window.limit, bytes).await?;
    let (snapshot, has_more) = read.ok_or_else(Problem::no_room)?;
    Ok(Json(MessagePage { messages: dto::MessageDto::all(&snapshot), has_more }))
}

/// The message to write.
#[derive(Deserialize, ToSchema)]
#[salvo(schema(name = NewMessage))]
pub(super) struct NewMessage {
    /// The sender.
    #[serde(deserialize_with = "user_id")]
    #[salvo(schema(schema_with = schema::user_id))]
    pub(super) sender_id: UserId,
    /// The text must not be only white space, must not contain U+0000, and has at most `limits.text_chars` code points.
    /// It is stored unchanged.
    #[salvo(schema(value_type = String, min_length = 1))]
    pub(super) text: Draft,
    /// Whether the sender writes as a member of the room (the default) or as a service.
    #[serde(default, rename = "as")]
    #[salvo(schema(inline))]
    by: WrittenAs,
}

impl Example for NewMessage {
    fn example() -> Value {
        json!({ "sender_id": 1, "text": "Hello" })
    }
}

/// The kind of a message's sender.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[salvo(schema(name = WrittenAs))]
enum WrittenAs {
    /// The sender is a member of the room.
    #[default]
    User,
    /// The sender is a name that your backend chooses, such as `bot:weather`. The sender need not be a member.
    Service,
}

/// Writes a message
///
/// When the answer arrives, a majority of the database's members has stored the message. If the answer is lost or is
/// `timeout`, send the request again with the same `Idempotency-Key`: no second message is made.
#[endpoint(operation_id = "post_message", tags("messages"), responses((
    status_code = 403, body = ProblemDetails, content_type = "application/problem+json",
    description = "`not_member`: the sender is not a member of the room"
), (
    status_code = 409, body = ProblemDetails, content_type = "application/problem+json",
    description = "`conflict`: the user is being erased; try again when that has ended"
)))]
async fn post_message(
    services: SharedServices,
    id: RoomParam,
    tried: IdempotentAttempt,
    body: JsonBody<NewMessage>,
) -> Result<Created<dto::MessageDto>, Problem> {
    let NewMessage { sender_id, text, by } = body.0;
    let text = accept(&services, text)?;
    // An earlier attempt of this request may have written the message. The sender may have left the room since then.
    // Therefore this function searches for the message before it checks the sender.
    if let Some(found) = written(&services, id.0, &sender_id, &text, &tried).await? {
        return Ok(found);
    }
    let email = check_sender(&services, id.0, &sender_id, by).await?;
    let write_id = tried.0.as_ref().map_or_else(ObjectId::new, |attempt| attempt.write_id);
    let deadline = Instant::now() + services.config.load().limits.handler;
    let begin_by = begin_by(deadline, services.config.load().mongodb.selection);
    let draft = draft::UnwrittenMessage {
        room: id.0,
        sender: sender_id.clone(),
        text: text.clone(),
        client_id: tried.0.as_ref().map(RequestAttempt::client_id),
        at: services.store.now(),
        write_id,
        by_member: by == WrittenAs::User,
    };
    let Ok(appended) = tokio::time::timeout_at(deadline, services.writer.append(draft, begin_by)).await
    else {
        services.metrics.bound_hit("handler_ms");
        return Err(Problem::new(
            ProblemCode::Timeout,
            "the write took too long; the message may still be written",
        ));
    };
    let (message_id, at) = match appended {
        Ok(Written::New(message_id, at)) => (message_id, at),
        // Another attempt of this request has stored the message, so the answer shows the stored message. If the stored
        // message can't be loaded from the database, the answer shows the values of this attempt.
        Ok(Written::Before(message_id)) => match written(&services, id.0, &sender_id, &text, &tried).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) | Err(_) => (message_id, services.store.now()),
        },
        Err(StoreError::NotMember) => return Err(not_member()),
        Err(error) => return Err(Problem::of_write(error)),
    };
    Ok(Created(dto::MessageDto::new(message_id, &text, sender_id, email, at)))
}

/// Returns the message that an earlier attempt of this request wrote, or `None` if there is no such message. The client
/// may have lost the answer of the earlier attempt. Therefore the new answer must be equal to the lost answer. The text
/// comes from the request, because the stored message has no text if it was deleted after the earlier attempt.
async fn written(
    services: &SharedServices,
    room: RoomId,
    sender: &UserId,
    text: &Text,
    tried: &IdempotentAttempt,
) -> Result<Option<Created<dto::MessageDto>>, Problem> {
    let Some(attempt) = &tried.0 else { return Ok(None) };
    let Some(message) = services.store.written(room, sender, text, attempt).await? else { return Ok(None) };
    let email = services.store.member(room, &message.sender).await?.and_then(|member| member.email);
    Ok(Some(Created(dto::MessageDto::written(message, email))))
}

/// A message's new text.
#[derive(Deserialize, ToSchema)]
#[salvo(schema(name = NewText))]
pub(super) struct NewText {
    /// The rules for the text of a new message apply. If the text is equal to the old text, the request still counts as
    /// an edit.
    #[salvo(schema(value_type = String, min_length = 1))]
    pub(super) text: Draft,
}

impl Example for NewText {
    fn example() -> Value {
        json!({ "text": "Hello!" })
    }
}

/// Changes the text of a message of any author
///
/// The answer is the message after this edit. Before the answer arrives, another request may have edited or deleted the
/// message.
#[endpoint(operation_id = "edit_message", tags("messages"))]
async fn edit_message(
    services: SharedServices,
    id: RoomParam,
    n: MessageParam,
    body: JsonBody<NewText>,
) -> Result<Json<dto::MessageDto>, Problem> {
    let text = accept(&services, body.0.text)?;
    // The message is loaded from the database before the edit. If it were loaded after a successful edit, a failed load
    // would make the answer an error.
    let before = services.store.history(id.0, HistoryCursor::After(n.0.get() - 1), 1, usize::MAX).await?;
    let (snapshot, _) = before.ok_or_else(Problem::no_room)?;
    let message = dto::MessageDto::all(&snapshot).pop().filter(|message| message.is(n.0));
    let message = message.ok_or_else(no_message)?;
    let updated_at = bound(&services, id.0).edit_as_service(n.0, &text).await?;
    Ok(Json(message.edited(&text, updated_at)))
}

/// Deletes a message of any author
#[endpoint(operation_id = "delete_message", tags("messages"))]
async fn delete_message(
    services: SharedServices,
    id: RoomParam,
    n: MessageParam,
) -> Result<NoContent, Problem> {
    exists(&services, id.0).await?;
    bound(&services, id.0).delete_as_service(n.0).await?;
    Ok(NoContent)
}

/// Returns the text. Fails if the text is longer than `limits.text_chars`.
fn accept(services: &SharedServices, text: Draft) -> Result<Text, Problem> {
    text.within(services.config.load().limits.text_chars, "text").map_err(Problem::from)
}

/// Checks that the sender may write in the room. Returns the sender's e-mail address, if the sender is a member with an
/// address.
async fn check_sender(
    services: &SharedServices,
    room: RoomId,
    sender: &UserId,
    by: WrittenAs,
) -> Result<Option<String>, Problem> {
    exists(services, room).await?;
    let member = services.store.member(room, sender).await?;
    // An erasure first removes the user's memberships. Therefore the database is asked about an erasure only for a
    // sender without a membership. A sender that writes as a service is not checked in the database.
    let is_lost = member.is_none() && by == WrittenAs::User;
    if services.store.erasing().contains(sender) || is_lost && services.store.is_being_erased(sender).await? {
        return Err(Problem::erasing(sender));
    }
    match (member, by) {
        (Some(member), _) => {
            if member.pending {
                // The user has not yet opened this direct room, which another user's connect created. A user who writes
                // in a direct room accepts it: then the room shows the user's address and presence.
                services.store.accept(room, sender, None).await.map_err(Problem::of_write)?;
            }
            Ok(member.email)
        }
        (None, WrittenAs::Service) => Ok(None),
        (None, WrittenAs::User) => Err(not_member()),
    }
}

fn not_member() -> Problem {
    Problem::new(ProblemCode::NotMember, "the sender is not a member of this room")
}

async fn exists(services: &SharedServices, room: RoomId) -> Result<(), Problem> {
    if services.store.room_exists(room).await? { Ok(()) } else { Err(Problem::no_room()) }
}

/// Returns the room object through which a service key edits and deletes the messages of every user.
fn bound(services: &SharedServices, room: RoomId) -> BoundRoom {
    BoundRoom {
        store: services.store.clone(),
        writer: services.writer.clone(),
        receipts: services.receipts.clone(),
        room,
        caller: UserId::Int(0),
        request: ObjectId::new(),
        audience: services.hub.clone(),
        deadline: Instant::now() + services.config.load().limits.handler,
        page_bytes: services.config.load().limits.page_bytes,
        selection: services.config.load().mongodb.selection,
    }
}

fn no_message() -> Problem {
    Problem::new(ProblemCode::NotFound, "no such message in this room")
}
