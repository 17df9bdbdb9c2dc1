//! What Parlor does, apart from everything that carries it.
//!
//! A client's frame names an action. Each action is a file of [`actions`], named as on the wire, with six things in
//! it: `Request`, what the frame must hold; `LEVEL`, which clients use it; `LIMITS`, what it costs; `EMITS` and `FAILS`, what may come of
//! it; and `handle`, a function of a [`Context`] and a request that ends in an [`Answer`] or an [`Error`].
//!
//! A handler reaches the world through its context alone, which is bound to one caller and one [`Room`]
//! already: it can't name another author or another room, and this crate has neither a runtime nor a database's
//! client, for Cargo gives it none. Deadlines, rates and panics are the runtime's; what an action
//! changes comes back to all sockets as [`Event`]s by way of the database, never from the handler.
//!
//! A new action is one new file and one word in `actions/mod.rs`.

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

pub use action::{Action, Answer, ByEvent, CallSchema, Level, Limits, Reply};
pub use actions::ACTIONS;
pub use context::{Appended, Connection, Context, From, History, Pending, Role, Room};
pub use contract::asyncapi;
pub use error::{Code, Error};
pub use event::{ErrorFrame, Event, Kind, Mark, Resumed};
pub use fields::{Fields, Malformed};
pub use id::{MAX_ID, MessageId, RoomId, UserId};
pub use inbox::{
    InboxEvent, MemberView, Ready, ReadyRoom, RoomChange, RoomKind, RoomPage, RoomView, RoomsFrom,
};
pub use message::{ClientId, Draft, HistoryMessage, Message, Status, Text, Time};
