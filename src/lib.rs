//! Parlor: chat beside an application that has its users and tokens already.
//!
//! Two walks tell most of it.
//!
//! **Connect.** [`routes`] takes the handshake, [`admission`] reads ids and token from it, [`auth`] checks the
//! token. The upgrade is answered at once; from there on [`socket`] has the connection. It finds the room in the
//! [`store`], joins the [`hub`] *first*, reads the history from one snapshot, sends it as the first frame, and
//! then whatever the hub queued meanwhile that the snapshot didn't have.
//!
//! **Message.** A socket reads a frame. [`runtime`] finds the action, holds it to its limits, and runs the
//! handler with a deadline. The handler appends to its room; the store's writer commits it with others, on a
//! majority of the database. The change stream brings it to the [`feed`] of every server, each [`room`] makes its
//! frames of it, the hub puts them into the sockets' [`outbox`]es, and the sockets write them. What was written
//! to a reader raises its marks, and they come back the same way. There is no other road: a handler never
//! writes to another's socket, so one server or twenty behave alike.
//!
//! An action of the application's own goes the same way, but that its handler is a request to a server of theirs
//! ([`functions`], [`outbound`]); what it tells a room without storing it is a [`signal`], which takes the same road.
//!
//! What holds for every HTTP request, whatever it asks for, is in [`http`].
//!
//! Only [`store`], [`feed`] and [`hooks`] know MongoDB, and [`embedded`] how to run one.

mod address;
mod admission;
pub mod api;
mod arrivals;
mod assemble;
pub mod auth;
mod caller;
mod changed;
mod close;
pub mod config;
mod cursor;
mod database;
mod drain;
pub mod embedded;
mod erasure;
mod feed;
mod functions;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod held;
mod hooks;
mod http;
mod hub;
mod leftovers;
pub mod log;
pub mod metrics;
pub mod open_files;
mod opener;
pub mod outbound;
mod outbox;
mod page;
mod places;
mod presence;
mod pulse;
mod rates;
mod refusals;
mod registry;
mod reload;
mod room;
mod routes;
mod runtime;
mod secure;
mod serve;
mod server;
pub mod signal;
mod socket;
mod splice;
pub mod store;
pub mod supervisor;
mod sweeper;
mod tls;
mod users;

pub use database::open_store;
pub use serve::{App, Ready, ServeError, listen_on, serve};
