//! Parlor: chat beside an application that already has its own users and tokens.
//!
//! Two paths explain most of the code.
//!
//! **Connect.** [`ws`] reads the WebSocket handshake: the ids in the URL (of a room, or of the users of a direct room)
//! and the token. [`auth`] checks the token. Parlor answers the upgrade immediately. From then on [`ws::serve`] owns
//! the connection. It finds the room in the [`store`]. It *first* joins the [`realtime::hub`] (the map from rooms to
//! their sockets on this server). Only then it reads the history from one snapshot of the database. The history is the
//! first frame. The hub queues the events that the server receives while the history is read. After the history, the
//! socket's task writes the queued events, except those that the history already contains.
//!
//! **Message.** A socket's task reads a frame. [`actions`] finds the action, checks its limits, and runs the handler
//! with a deadline. The handler appends a message to its room. The store commits several messages in one write, which a
//! majority of the database's members must acknowledge. The [change stream](realtime::change_stream) brings the message
//! to every server. On each server, the [room's state](realtime::room_state) turns the message into frames (encoded
//! events). The hub puts the frames into each [`outbox`](realtime::outbox) (the send queue of one socket), and the
//! sockets' tasks write them. After a task has written a message of another user, it raises the receipt markers of its
//! own user. The store commits the markers, and the change stream brings them to every server. Messages and markers
//! reach sockets only through the change stream: a handler never writes to another client's socket. Therefore clients
//! see the same behaviour with one server and with twenty servers.
//!
//! An action that the application adds runs in the same way. Its handler is an HTTP request to the application's server
//! ([`actions::functions`], [`outbound`]). An [ephemeral event](protocol::ephemeral), such as `typing`, is not stored
//! as a message. The store writes the event as a small document that soon expires, and the change stream brings the
//! document to every server.
//!
//! A module imports only from the layers below it. `docs/architecture.md` lists the layers.

pub(crate) mod actions;
pub mod app;
pub mod auth;
pub mod config;
mod error;
#[cfg_attr(
    not(feature = "functions"),
    allow(
        dead_code,
        clippy::unused_async,
        clippy::unused_self,
        reason = "without the feature, no file is loaded or called"
    )
)]
pub(crate) mod functions;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub(crate) mod jobs;
pub(crate) mod lifecycle;
pub(crate) mod limits;
pub(crate) mod model;
pub mod mongod;
pub mod outbound;
pub(crate) mod presence;
pub mod protocol;
pub(crate) mod realtime;
pub(crate) mod retry;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub(crate) mod webhooks;
pub(crate) mod ws;

pub use app::database::open_store;
pub use app::{App, ServerReady, listen_on, serve};
pub use error::StartError;
pub use functions::loader::offline::check_functions;
pub use functions::trial::{TrialPlan, TrialReport, try_function};
