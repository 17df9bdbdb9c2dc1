//! A row of the table of actions.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::{Code, Context, Error, EventType, Fields, Pending};

/// One row of the table of actions: everything that the runtime knows about an action.
pub struct Action {
    /// The value of `action` in a frame.
    pub name: &'static str,
    /// What the action declares beside its code.
    pub spec: ActionSpec,
    /// Decodes the request immediately, and returns the call, which the runtime then polls.
    ///
    /// # Errors
    /// `invalid_request`, with the name of the wrong field.
    pub run: fn(Context, &Fields<'_>) -> Result<Pending<'static, Reply>, Error>,
    /// Describes the frame and its answer.
    pub schema: fn(&mut SchemaGenerator) -> CallSchema,
}

/// What an action declares beside its code. An action names only the fields that differ from
/// [`DEFAULT`](Self::DEFAULT).
#[derive(Clone, Copy, Debug)]
pub struct ActionSpec {
    /// The lowest Level of the protocol that has the action. Each higher Level has it, too.
    pub level: Level,
    /// The bounds of its calls.
    pub limits: Limits,
    /// The events that a call may cause. All sockets of the room receive them.
    pub emits: &'static [EventType],
    /// The errors that are the action's own. Any action can also fail with an error of the runtime: `bad_json`,
    /// `unknown_action`, `invalid_request`, `rejected`, `rate_limited`, `timeout`, `unavailable`, `internal`.
    pub fails: &'static [Code],
}

impl ActionSpec {
    /// Level 2, the default limits, no events, no errors of its own. Level 1 is for clients that were written before
    /// the protocol had Levels, so a new action begins at Level 2.
    pub const DEFAULT: Self =
        Self { level: Level::Resumable, limits: Limits::DEFAULT, emits: &[], fails: &[] };
}

/// The shapes of a call's two ends, for the contract.
#[derive(Debug)]
pub struct CallSchema {
    /// The frame's fields but `action`.
    pub request: Schema,
    /// The frame that answers it on its own socket, where one does.
    pub answer: Option<Schema>,
}

impl CallSchema {
    /// As a handler's own types say.
    pub(crate) fn of<Request, Call, A>(
        _handle: fn(Context, Request) -> Call,
        generator: &mut SchemaGenerator,
    ) -> Self
    where
        Request: JsonSchema,
        Call: Future<Output = Result<A, Error>>,
        A: Answer,
    {
        Self { request: generator.subschema_for::<Request>(), answer: A::schema(generator) }
    }
}

impl Action {
    /// The action that a frame names.
    pub fn named(name: &str) -> Option<&'static Self> {
        crate::ACTIONS.iter().find(|action| action.name == name)
    }
}

/// The Levels of the protocol: each adds to the ones below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Level 1: one room, nothing to resume.
    Basic = 1,
    /// Level 2: one room, resumed by a cursor.
    Resumable = 2,
    /// Level 3: all rooms of a user on one socket.
    Inbox = 3,
}

/// What calls of an action may take. The configuration may set all of it anew but `message`
/// (`[actions.<name>]`); what is left open here goes by the bounds that hold for all actions (`[limits]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Counts against the messages that a user may send in a minute.
    pub message: bool,
    /// Calls that a user may make in a minute, over all of their sockets on one server.
    pub per_minute: Option<u32>,
    /// Calls that one socket may make at once, each regained in a `per_minute`th of a minute.
    pub burst: Option<u32>,
    /// The largest frame, in bytes.
    pub max_bytes: Option<usize>,
    /// How long a call may run, in milliseconds.
    pub timeout_ms: Option<u32>,
    /// Calls that may run at once on one server.
    pub max_in_flight: usize,
}

impl Limits {
    /// What holds for all actions, and as many calls at once as keep the database busy many times over.
    pub const DEFAULT: Self = Self {
        message: false,
        per_minute: None,
        burst: None,
        max_bytes: None,
        timeout_ms: None,
        max_in_flight: 10_000,
    };
}

/// How a call that went well is answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Not at all: the event that the change causes is the answer, to this socket as to all others.
    ByEvent,
    /// By this frame, on the caller's own socket alone.
    Frame(String),
}

/// What a handler may end in: [`ByEvent`], or whatever can be written as a frame.
pub trait Answer {
    /// The answer as the runtime takes it.
    ///
    /// # Errors
    /// `internal`, where it can't be written as JSON.
    fn reply(self) -> Result<Reply, Error>;

    /// What it looks like; none where there is no frame.
    fn schema(generator: &mut SchemaGenerator) -> Option<Schema>;
}

/// The event is the answer.
#[derive(Clone, Copy, Debug)]
pub struct ByEvent;

impl Answer for ByEvent {
    fn reply(self) -> Result<Reply, Error> {
        Ok(Reply::ByEvent)
    }

    fn schema(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
}

impl<T: Serialize + JsonSchema> Answer for T {
    fn reply(self) -> Result<Reply, Error> {
        serde_json::to_string(&self).map(Reply::Frame).map_err(Error::internal)
    }

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}
