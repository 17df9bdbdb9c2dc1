//! What every test stands on: one database server for all of them, a Parlor each, and clients that keep a transcript.

mod authority;
mod binary;
mod browser;
mod checked_in;
mod choir;
mod client;
mod dial;
mod dice;
mod eventually;
mod fault;
mod frames;
mod issuer;
mod link;
mod metered;
mod mongo;
mod packages;
mod process;
mod receiver;
mod samples;
mod server;
mod token;
mod transcript;
mod traveller;
mod truth;
mod wire;

use std::time::Duration;

pub(crate) use authority::Authority;
pub(crate) use binary::{Home, Serving, free_port, mongod};
pub(crate) use browser::{Browser, Pointer, Window, key};
pub(crate) use checked_in::checked_in;
pub(crate) use choir::{Choir, assert_in_order, assert_kept, assert_shown};
pub(crate) use client::{Client, End};
pub(crate) use dial::{Dial, encoded};
pub(crate) use dice::{Dice, seed};
pub(crate) use eventually::{eventually, eventually_count, eventually_some, eventually_within};
pub(crate) use fault::{Clock, Mongod, Program, shared_uri, signal};
pub(crate) use frames::{
    TIME, WORDS, chat, deleted, delivered, edited, error, ids_of, listed, matches, next_error, read, said,
};
pub(crate) use issuer::{Issuer, Says, Signer};
pub(crate) use link::{Link, State, Streams};
pub(crate) use metered::Metered;
pub(crate) use mongo::Database;
pub(crate) use packages::{installed, node_packages, python, python_packages, run};
pub(crate) use process::Process;
pub(crate) use receiver::{Asked, Receiver, Say};
pub(crate) use samples::{Samples, may_open_many_files};
pub(crate) use server::api::Lines;
pub(crate) use server::described::fits;
pub(crate) use server::{API_KEY, Server};
pub(crate) use token::{Token, now};
pub(crate) use traveller::{Doors, Journey, Ledger, Stage, Travelled, Traveller};
pub(crate) use truth::Truth;
pub(crate) use wire::{Heard, Wire, frame, handshake, piece};

/// How long a test waits for what must come. Far more than any of it takes, on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// The upper bound of a time that a test measures, beyond the time that it must take: a busy machine may be ten times slower.
pub(crate) const SLACK: Duration = Duration::from_secs(30);

/// A server, a room of the users 1 and 2, and a socket of each that has read its empty history.
pub(crate) async fn room_of_two(overrides: &[(&str, &str)]) -> (Server, Client, Client) {
    let server = Server::start(overrides).await;
    server.room(&[1, 2]).await;
    let one = server.join(1, 2).await;
    let two = server.join(2, 1).await;
    (server, one, two)
}

/// A server, a room of the users 1 and 2, and a socket of 1 alone: nothing becomes delivered.
pub(crate) async fn alone(overrides: &[(&str, &str)]) -> (Server, Client) {
    let server = Server::start(overrides).await;
    server.room(&[1, 2]).await;
    let one = server.join(1, 2).await;
    (server, one)
}
