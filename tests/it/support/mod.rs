//! Tools of the tests: one database server for all tests, a Parlor server for each test, and clients that record their
//! frames in a transcript.

mod authority;
mod binary;
mod browser;
mod checked_in;
mod client;
mod dial;
mod eventually;
mod fault;
mod frames;
mod functions_folder;
mod issuer;
mod link;
mod many_clients;
mod metered;
mod mongo;
mod packages;
mod process;
mod raw_connection;
mod readiness_probe;
mod receiver;
mod reconnecting_client;
mod samples;
mod seeded_rng;
mod server;
mod token;
mod transcript;

use std::time::Duration;

pub(crate) use authority::Authority;
pub(crate) use binary::{Home, Serving, free_port, mongod};
pub(crate) use browser::{Browser, Pointer, Window, key};
pub(crate) use checked_in::checked_in;
pub(crate) use client::{Client, End};
pub(crate) use dial::{Dial, encoded};
pub(crate) use eventually::{eventually, eventually_count, eventually_some, eventually_within};
pub(crate) use fault::{Clock, Mongod, Program, shared_uri, signal};
pub(crate) use frames::{
    TIME, WORDS, chat, deleted, delivered, edited, error, ids_of, listed, matches, next_error, read, said,
};
pub(crate) use functions_folder::FunctionsFolder;
pub(crate) use issuer::{Issuer, IssuerReply, Signer};
pub(crate) use link::{Link, State, Streams};
pub(crate) use many_clients::{ManyClients, assert_in_order, assert_kept, assert_shown};
pub(crate) use metered::Metered;
pub(crate) use mongo::Database;
pub(crate) use packages::{installed, node_packages, python, python_packages, run};
pub(crate) use process::Process;
pub(crate) use raw_connection::{RawConnection, RawFrame, frame, handshake, piece};
pub(crate) use readiness_probe::ReadinessProbe;
pub(crate) use receiver::{ReceivedRequest, Receiver, ReceiverReply};
pub(crate) use reconnecting_client::{
    ClientPlan, ClientReport, Ledger, ReconnectingClient, ServerAddresses, Stage,
};
pub(crate) use samples::{Samples, may_open_many_files};
pub(crate) use seeded_rng::{SeededRng, seed};
pub(crate) use server::api::Lines;
pub(crate) use server::described::fits;
pub(crate) use server::{API_KEY, Server};
pub(crate) use token::{Token, now};

/// The longest time that a test waits for an event or a state. Even on a slow machine, no correct wait takes nearly as
/// long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// The time by which a measured duration may exceed the required duration, because a busy machine may be ten times
/// slower.
pub(crate) const SLACK: Duration = Duration::from_secs(30);

/// Starts a server with a room of the users 1 and 2. Returns the server and a socket of each user. Both sockets have
/// read their history.
pub(crate) async fn room_of_two(overrides: &[(&str, &str)]) -> (Server, Client, Client) {
    let server = Server::start(overrides).await;
    server.room(&[1, 2]).await;
    let one = server.join(1, 2).await;
    let two = server.join(2, 1).await;
    (server, one, two)
}

/// Starts a server with a room of the users 1 and 2. Returns the server and a socket of user 1. User 2 has no socket,
/// so no message becomes delivered.
pub(crate) async fn room_with_one_socket(overrides: &[(&str, &str)]) -> (Server, Client) {
    let server = Server::start(overrides).await;
    server.room(&[1, 2]).await;
    let one = server.join(1, 2).await;
    (server, one)
}
