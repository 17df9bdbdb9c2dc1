//! Fakes of the traits `Room` and `Connection`, for the unit tests of the actions. The fakes keep their data in
//! memory, so a test runs in milliseconds and needs no database.
//!
//! A test passes a frame to [`call`], as a client sends it. [`call`] decodes the frame and runs the action that
//! the frame names.

mod connection;
mod room;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use serde_json::Value;

pub(crate) use self::connection::{ConnectionCall, FakeConnection};
pub(crate) use self::room::{FakeRoom, RoomCall};
use crate::{Action, Code, Context, Error, Fields, Pending, Reply, Room, UserId};

/// The longest text of a message that the actions accept in these tests, in code points.
pub(crate) const TEXT_CHARS: usize = 20;

/// The user who runs the actions.
pub(crate) const CALLER: UserId = UserId::Int(1);

/// A second member of the fake room.
pub(crate) const OTHER: UserId = UserId::Int(2);

/// Runs the action that `frame` names, and returns its answer. `room` is none if the frame names no room.
pub(crate) fn call(
    room: Option<&Arc<FakeRoom>>,
    connection: &Arc<FakeConnection>,
    frame: &Value,
) -> Result<Reply, Error> {
    let room = room.cloned().map(|room| room as Arc<dyn Room>);
    let context = Context::new(CALLER, room, connection.clone(), TEXT_CHARS);
    let frame = frame.to_string();
    let fields = Fields::parse(&frame).map_err(|_| Error::new(Code::BadJson, "not a JSON object"))?;
    let action = fields.first_text("action").and_then(|name| Action::named(&name));
    let action = action.ok_or_else(|| Error::new(Code::UnknownAction, "no such action"))?;
    let call = pin!((action.run)(context, &fields)?);
    match call.poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("the fakes never wait"),
    }
}

fn ready<T: Send + 'static>(result: Result<T, Error>) -> Pending<'static, T> {
    Box::pin(std::future::ready(result))
}
