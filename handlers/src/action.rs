//! What the runtime knows about an action: its name, its declaration, its code and its schema.

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

/// The schemas of a frame and of its answer, for the contract.
#[derive(Debug)]
pub struct CallSchema {
    /// The fields of the frame, without `action`.
    pub request: Schema,
    /// The frame that answers the call on its own socket; none if an event is the answer.
    pub answer: Option<Schema>,
}

impl CallSchema {
    /// Derives both schemas from the types of a handler.
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
    /// Returns the action with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        crate::ACTIONS.iter().find(|action| action.name == name)
    }
}

/// The Levels of the protocol. Each Level adds to the ones below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Level 1, basic: a socket of one room, without resuming.
    Basic = 1,
    /// Level 2, resumable: a socket of one room that resumes from a cursor.
    Resumable = 2,
    /// Level 3, inbox: one socket for all rooms of a user.
    Inbox = 3,
}

/// The bounds of an action's calls. The configuration may replace all of them except `message` (`[actions.<name>]`).
/// If a bound is none, the one for all actions applies (`[limits]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Whether a call counts as one of the messages that a user may send in a minute.
    pub message: bool,
    /// The calls that a user may make in a minute, on all of their sockets on one server together.
    pub per_minute: Option<u32>,
    /// The calls that one socket may make without a pause. The socket regains one in each `per_minute`th of a minute.
    pub burst: Option<u32>,
    /// The largest frame, in bytes.
    pub max_bytes: Option<usize>,
    /// The longest time that a call may run, in milliseconds.
    pub timeout_ms: Option<u32>,
    /// The calls that may run concurrently on one server.
    pub max_in_flight: usize,
}

impl Limits {
    /// The bounds for all actions, and more concurrent calls than the database can work on.
    pub const DEFAULT: Self = Self {
        message: false,
        per_minute: None,
        burst: None,
        max_bytes: None,
        timeout_ms: None,
        max_in_flight: 10_000,
    };
}

/// The answer to a call that succeeded.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// No frame. The event that the change causes is the answer, for this socket as for all others.
    ByEvent,
    /// This frame, for the caller's own socket only.
    Frame(String),
}

/// The success type of a handler: [`ByEvent`], or any type that serializes to a frame.
pub trait IntoReply {
    /// Converts the answer to a [`Reply`].
    ///
    /// # Errors
    /// `internal`: the answer can't be written as JSON.
    fn reply(self) -> Result<Reply, Error>;

    /// Describes the answer's frame; none if there is no frame.
    fn schema(generator: &mut SchemaGenerator) -> Option<Schema>;
}

/// The success type of a handler whose event is the answer.
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
