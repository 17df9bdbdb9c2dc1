//! A row of the table of actions.

use crate::{Code, Context, Error, Fields, Kind, Pending};

/// What the runtime has to know of an action.
pub struct Action {
    /// The wire's `action`.
    pub name: &'static str,
    /// What one call costs its caller.
    pub limits: Limits,
    /// The events that a call may lead to, for every socket of the room.
    pub emits: &'static [Kind],
    /// The errors of its own that it may end in. Those of the runtime (`bad_json`, `unknown_action`,
    /// `invalid_request`, `rate_limited`, `timeout`, `unavailable`, `internal`) can meet any action.
    pub fails: &'static [Code],
    /// Decodes the request, at once, and gives the call to be run.
    ///
    /// # Errors
    /// `invalid_request`, naming the field at fault.
    pub run: fn(Context, &Fields<'_>) -> Result<Pending<'static, Reply>, Error>,
}

impl Action {
    /// The action that a frame names.
    pub fn named(name: &str) -> Option<&'static Self> {
        crate::ACTIONS.iter().find(|action| action.name == name)
    }
}

/// What a call costs its caller, besides one frame.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Counts against the messages that a user may send in a minute.
    pub message: bool,
}

impl Limits {
    /// One frame and nothing else.
    pub const DEFAULT: Self = Self { message: false };
}

/// How a call that went well is answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Not at all: the event that the change causes is the answer, to this socket as to all others.
    ByEvent,
}
