//! The behaviour of Parlor's chat: its actions, events and errors. The crate contains no socket and no database
//! client.
//!
//! A client's frame (a message on its socket) names an action. Each action has a file in the module [`actions`]. The
//! file's name is the value of `action` in the frame. The file holds three things:
//!
//! - `Request`: the fields of the frame;
//! - `SPEC`: the lowest Level (connection mode) that has the action, the action's limits, and the events and errors
//!   that a call may cause;
//! - `handle`: a function of a [`Context`] and a request. It returns an [`IntoReply`] or an [`Error`].
//!
//! A handler reads and writes messages only through its context. The context is bound to one caller and one
//! [`Room`], so a handler can't act as another user or in another room. Cargo gives this crate neither an async
//! runtime nor a database client. The dispatcher in the server's crate enforces deadlines and rates, and catches
//! panics. A handler never sends to other sockets. It writes to the database, and each server then sends the change
//! as an [`Event`] to its sockets of the room.
//!
//! To add an action, add a file to `actions` and its name to the list in `actions/mod.rs`. See
//! docs/contributing/adding-an-action.md.

mod action;
pub mod actions;
mod context;
mod contract;
mod error;
mod event;
mod fields;
mod id;
mod inbox;
mod message;
mod schema;
#[cfg(test)]
mod testing;

pub use action::{Action, ActionSpec, ByEvent, CallSchema, IntoReply, Level, Limits, Reply};
pub use actions::ACTIONS;
pub use context::{AppendOutcome, Connection, Context, History, HistoryCursor, Pending, Role, Room};
pub use contract::asyncapi;
pub use error::{Code, Error};
pub use event::{ErrorFrame, Event, EventType, Mark, Resumed};
pub use fields::{Fields, Malformed};
pub use id::{MAX_ID, MessageId, RoomId, UserId};
pub use inbox::{
    InboxEvent, MemberView, Ready, ReadyRoom, RoomChange, RoomKind, RoomPage, RoomView, RoomsFrom,
};
pub use message::{ClientId, Draft, HistoryMessage, Message, Status, Text, Time};
