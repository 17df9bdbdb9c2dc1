//! The description of an action for the runtime: its name, its declaration, its code and its schema.
//!
//! An action is a request of a client on a socket, such as `send`. The runtime is the main crate: it reads a client's
//! frame, finds the action in [`ACTIONS`](crate::ACTIONS) and calls it.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::{Code, Context, Error, EventType, Fields, Pending};

/// A row of the table [`ACTIONS`](crate::ACTIONS): everything that the runtime knows about one action.
pub struct Action {
    /// The value that the field `action` has in a client's frame.
    pub name: &'static str,
    /// The declaration: the action's Level, bounds, events and errors.
    pub spec: ActionSpec,
    /// Decodes the request from the frame's fields, and returns the future that executes the call.
    ///
    /// # Errors
    /// `invalid_request`, with the name of the field that can't be decoded.
    pub run: fn(Context, &Fields<'_>) -> Result<Pending<'static, Reply>, Error>,
    /// Returns the JSON Schemas of the frame and of its answer. The generated contract `config/asyncapi.json` contains
    /// them.
    pub schema: fn(&mut SchemaGenerator) -> CallSchema,
}

/// The declaration of an action: its Level, bounds, events and errors. An action sets only the fields that differ from
/// [`DEFAULT`](Self::DEFAULT).
#[derive(Clone, Copy, Debug)]
pub struct ActionSpec {
    /// The lowest Level whose sockets may call the action. Sockets of each higher Level may call it, too.
    pub level: Level,
    /// The bounds of the action's calls.
    pub limits: Limits,
    /// The events that a call may cause. All sockets of the room receive them.
    pub emits: &'static [EventType],
    /// The errors that the action itself returns. Every action can also fail with an error of the runtime: `bad_json`,
    /// `unknown_action`, `invalid_request`, `rejected`, `rate_limited`, `timeout`, `unavailable`, `internal`.
    pub fails: &'static [Code],
}

impl ActionSpec {
    /// An action of Level 2 with the default limits, without events and without errors of its own. Level 1 is for
    /// clients that were written before the protocol had Levels. Therefore a new action has Level 2 by default.
    pub const DEFAULT: Self =
        Self { level: Level::Resumable, limits: Limits::DEFAULT, emits: &[], fails: &[] };
}

/// The JSON Schemas of a frame and of its answer, for the generated contract `config/asyncapi.json`.
#[derive(Debug)]
pub struct CallSchema {
    /// The schema of the frame's fields, without `action`.
    pub request: Schema,
    /// The schema of the frame that only the caller's socket receives as the answer. None if the answer is an event.
    pub answer: Option<Schema>,
}

impl CallSchema {
    /// Derives the schemas from the handler's types: the type of its parameter and its success type. Never calls the
    /// handler.
    pub(crate) fn of<Request, Call, A>(
        _handle: fn(Context, Request) -> Call,
        generator: &mut SchemaGenerator,
    ) -> Self
    where
        Request: JsonSchema,
        Call: Future<Output = Result<A, Error>>,
        A: IntoReply,
    {
        Self { request: generator.subschema_for::<Request>(), answer: A::schema(generator) }
    }
}

impl Action {
    /// Returns the action with this name. Returns None if no built-in action has this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        crate::ACTIONS.iter().find(|action| action.name == name)
    }
}

/// The Levels of the protocol: the three modes of a socket. Each Level has everything that the lower Levels have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Level 1, basic: a socket of one room, without resuming.
    Basic = 1,
    /// Level 2, resumable: a socket of one room that resumes from a cursor.
    Resumable = 2,
    /// Level 3, inbox: one socket for all rooms of a user.
    Inbox = 3,
}

/// The bounds of an action's calls. The configuration section `[actions.<name>]` may replace all bounds except
/// `message`. If a bound is none, the bound for all actions applies (section `[limits]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Whether a call counts as a message, towards the messages that a user may send in a minute
    /// (`limits.messages_per_minute`).
    pub message: bool,
    /// The maximum number of calls of a user in a minute, on all of the user's sockets on one server together.
    pub per_minute: Option<u32>,
    /// The maximum number of calls that a socket may make without a pause. After these calls, the socket may make one
    /// call every 60 / `per_minute` seconds. If `per_minute` is none, `limits.frames_per_minute` takes its place.
    pub burst: Option<u32>,
    /// The largest frame, in bytes.
    pub max_bytes: Option<usize>,
    /// The longest time that a call may run, in milliseconds.
    pub timeout_ms: Option<u32>,
    /// The maximum number of calls that run concurrently on one server.
    pub max_in_flight: usize,
}

impl Limits {
    /// The bounds of an action that declares no bounds of its own. Only `max_in_flight` has a value. This value is
    /// larger than the number of calls that the database can execute concurrently.
    pub const DEFAULT: Self = Self {
        message: false,
        per_minute: None,
        burst: None,
        max_bytes: None,
        timeout_ms: None,
        max_in_flight: 10_000,
    };
}

/// The answer to an action's call that succeeded.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// The caller's socket gets no separate answer. The action's change causes an event. All sockets of the room
    /// receive this event, and so does the caller's socket.
    ByEvent,
    /// The JSON text of a frame that only the caller's socket receives.
    Frame(String),
}

/// The success type of an action's handler: [`ByEvent`], or any type that serializes to a frame.
pub trait IntoReply {
    /// Converts the answer to a [`Reply`].
    ///
    /// # Errors
    /// `internal`, if the answer can't be serialized to JSON.
    fn reply(self) -> Result<Reply, Error>;

    /// Returns the JSON Schema of the answer's frame. None if the answer has no frame.
    fn schema(generator: &mut SchemaGenerator) -> Option<Schema>;
}

/// The success type of a handler that returns no frame. The event of the handler's change is the answer
/// ([`Reply::ByEvent`]).
#[derive(Clone, Copy, Debug)]
pub struct ByEvent;

impl IntoReply for ByEvent {
    fn reply(self) -> Result<Reply, Error> {
        Ok(Reply::ByEvent)
    }

    fn schema(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
}

impl<T: Serialize + JsonSchema> IntoReply for T {
    fn reply(self) -> Result<Reply, Error> {
        serde_json::to_string(&self).map(Reply::Frame).map_err(Error::internal)
    }

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}
