//! Fuzzes the actions: handles arbitrary text frames as a socket does, and checks the answers.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bson::oid::ObjectId;
use futures_util::FutureExt;
use handlers::{
    ACTIONS, AppendOutcome, ClientId, Code, Connection, Context, Error, Fields, History, HistoryCursor,
    MessageId, Pending, Reply, Role, Room, RoomId, RoomPage, RoomsFrom, Text, Time, UserId,
};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{CONFIG, SAID_CHARS};
use crate::actions::bound_socket::page_after;
use crate::actions::envelope::{ACTION_SHOWN, Envelope};
use crate::actions::functions::Call;
use crate::actions::registry::ActionTable;
use crate::actions::session_state::{SessionScope, SocketSession};
use crate::limits::user_quota::UserQuotas;
use crate::protocol::session_options::SessionOptions;
use crate::realtime::joined_rooms::JoinedRooms;
use crate::telemetry::metrics::Metrics;

/// The error codes that an answer can have in this fuzz target. The list has no codes of database errors, because the
/// target has no database.
const CODES: &[&str] = &["bad_json", "unknown_action", "invalid_request", "not_found", "invalid_token"];

static TABLE: LazyLock<ActionTable> = LazyLock::new(|| ActionTable::new(ACTIONS, Vec::new(), &CONFIG, None));
static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// Handles the bytes after the first one as a frame. The first byte chooses the kind of the socket: `1` for Level 1,
/// `2` for Level 2, any other byte for an inbox connection of a user who is in room 7.
pub fn frames(data: &[u8]) {
    let Some((kind, frame)) = data.split_first() else { return };
    let Ok(frame) = str::from_utf8(frame) else { return };
    if frame.len() > CONFIG.limits.frame_bytes {
        return;
    }
    written_again(frame);
    answered(*kind, frame);
}

/// Asserts that the server's parser accepts every JSON object that `serde_json` accepts. Also asserts that the
/// fields stay the same when they are written as JSON and parsed again.
fn written_again(frame: &str) {
    let Ok(fields) = Fields::parse(frame) else {
        let object = serde_json::from_str::<Value>(frame).is_ok_and(|value| value.is_object());
        return assert!(!object, "an object of JSON is refused");
    };
    let written = serde_json::to_string(&fields).unwrap();
    let again = Fields::parse(&written).expect("what was written is read");
    assert_eq!(serde_json::to_string(&again).unwrap(), written);
    assert!(fields.names().eq(again.names()));
}

/// Handles one frame as a socket of the kind `kind` does, in a fake room where every valid call succeeds. Asserts
/// that the answer is valid.
pub(super) fn answered(kind: u8, frame: &str) {
    let caller = Arc::new(caller(kind));
    let (request, mut heading) = (ObjectId::new(), Envelope::default());
    let done = TABLE.admit(frame, &caller, &mut heading, &METRICS).and_then(|(row, fields)| {
        let room = heading.room.map(|_| -> Arc<dyn Room> { Arc::new(Willing) });
        let context = Context::new(caller.user.clone(), room, Arc::new(Willing), CONFIG.limits.text_chars);
        let call = Call {
            as_service: None,
            context,
            caller: caller.clone(),
            room: heading.room,
            rates: TABLE.rates.clone(),
            request,
            frame: frame.into(),
        };
        row.run.begin(call, &fields)?.now_or_never().expect("nothing here waits")
    });
    let answer = match done {
        Ok(Reply::ByEvent) => return,
        Ok(Reply::Frame(json)) => heading.answer(json),
        Err(error) => refused(&error, &heading, request),
    };
    let answer: Value = serde_json::from_str(&answer).expect("an answer is JSON");
    assert!(answer["type"].is_string(), "{answer}");
    assert_eq!(answer.get("ref").and_then(Value::as_str), heading.reference.as_deref());
    assert_eq!(answer.get("room_id").and_then(Value::as_i64), heading.named_room.map(RoomId::get));
}

fn refused(error: &Error, heading: &Envelope, request: ObjectId) -> Utf8Bytes {
    let answer = heading.refuse(error, request);
    let error: Value = serde_json::from_str(&answer.json).expect("an error is JSON");
    assert_eq!(error["type"], "error");
    assert!(CODES.contains(&error["code"].as_str().unwrap()), "{error}");
    assert_eq!(answer.refused.map(Code::as_str), error["code"].as_str());
    let message = error["message"].as_str().unwrap();
    assert!((1..=SAID_CHARS).contains(&message.chars().count()), "{message}");
    let shown = heading.action.as_deref().map(|name| name.chars().take(ACTION_SHOWN).collect::<String>());
    assert_eq!(error.get("action").and_then(Value::as_str), shown.as_deref());
    answer.json
}

fn caller(kind: u8) -> SocketSession {
    let (user, room) = (UserId::Int(1), RoomId::try_from(7).unwrap());
    let level_2 = SessionOptions { since: Some(String::new()), manual_receipts: true };
    let (place, options) = match kind {
        b'1' => (SessionScope::Room(room), SessionOptions::default()),
        b'2' => (SessionScope::Room(room), level_2),
        _ => {
            let inbox = JoinedRooms::default();
            inbox.enter(room);
            (SessionScope::Inbox(Arc::new(inbox)), SessionOptions::default())
        }
    };
    let slot = UserQuotas::new().acquire(&user, 1).unwrap();
    SocketSession::new(user, None, place, slot, options, SystemTime::now() + Duration::from_hours(1))
}

/// A fake room and a fake connection. Their methods assert that the arguments are within the limits, and then
/// succeed.
struct Willing;

impl Willing {
    fn assert_may_be_said(text: &Text) {
        let text = text.as_str();
        assert!(text.chars().count() <= CONFIG.limits.text_chars);
        assert!(!text.trim().is_empty() && !text.contains('\0'));
    }
}

fn now<'a, T: Send + 'a>(value: T) -> Pending<'a, T> {
    Box::pin(async { Ok(value) })
}

impl Room for Willing {
    fn append(&self, text: Text, client_id: Option<ClientId>) -> Pending<'_, AppendOutcome> {
        Self::assert_may_be_said(&text);
        // The server answers a new message with an event. This target can check only frames. Therefore a message with a
        // `client_id` gets the outcome `Deleted`, as if the message had been stored earlier and then deleted. The
        // server answers `Deleted` with a frame.
        match client_id {
            Some(id) => {
                assert!((1..=ClientId::MAX_CHARS).contains(&id.into_string().chars().count()));
                now(AppendOutcome::Deleted(MessageId::MAX))
            }
            None => now(AppendOutcome::New(MessageId::MAX)),
        }
    }

    fn author(&self, id: MessageId) -> Pending<'_, UserId> {
        assert!(id <= MessageId::MAX);
        now(UserId::Int(1))
    }

    fn edit(&self, _: MessageId, text: Text) -> Pending<'_, ()> {
        Self::assert_may_be_said(&text);
        now(())
    }

    fn delete(&self, _: MessageId) -> Pending<'_, ()> {
        now(())
    }

    fn role(&self) -> Pending<'_, Role> {
        now(Role::Member)
    }

    fn history(&self, _: HistoryCursor, limit: usize) -> Pending<'_, History> {
        assert!((1..=200).contains(&limit), "{limit}");
        now(History { messages: Vec::new(), has_more: false })
    }

    fn read(&self, _: MessageId) -> Pending<'_, ()> {
        now(())
    }

    fn typing(&self) -> Pending<'_, ()> {
        now(())
    }
}

impl Connection for Willing {
    fn renew<'a>(&'a self, token: &'a str) -> Pending<'a, Time> {
        Box::pin(async move {
            let caller = crate::fuzzing::tokens::verified(token);
            caller.map(|_| Time(0)).map_err(|refused| Error::new(Code::InvalidToken, refused.as_str()))
        })
    }

    fn open(&self) -> Result<(), Error> {
        Ok(())
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    fn rooms(&self, from: RoomsFrom) -> Pending<'_, RoomPage> {
        Box::pin(async move {
            page_after(from, None)?;
            Ok(RoomPage { rooms: Vec::new(), next: None })
        })
    }
}
