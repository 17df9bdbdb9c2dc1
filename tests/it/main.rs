//! Parlor through its front door: each test has a server of its own in this process, a database of its own,
//! and clients whose transcript is printed when it fails. What is held to its word here is the protocol.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test ends by panicking, and says why where its reader looks"
)]

mod abuse;
mod actions;
mod answers;
mod book;
mod bulk;
mod calls;
mod closing;
mod command;
mod command_remote;
mod connect;
mod consent;
mod contract;
mod counted;
mod crash;
mod database_uri;
mod deletion;
mod direct;
mod documents;
mod drain;
mod erasure;
mod errors;
mod events;
mod expiry;
mod feed;
mod fields;
mod files;
mod floods;
mod fragments;
mod functions;
mod generators;
mod handshake;
mod history;
mod hooks;
mod hostile;
mod http;
mod idempotency;
mod inbox;
mod isolation;
mod issuers;
mod keysets;
mod large;
mod last_frames;
mod layers;
mod level2;
mod limits;
mod logs;
mod marks;
mod members;
mod messages;
mod on_connect;
mod openapi;
mod outage;
mod outbound;
mod page;
mod people;
mod presence;
mod properties;
mod proxies;
mod purge;
mod receipts;
mod rechecks;
mod reload;
mod rest;
mod rooms;
mod servers;
mod signals;
mod slow;
mod snippets;
mod soak;
mod support;
mod texts;
mod tls;
mod token_kinds;
mod tokens;
#[cfg(feature = "otlp")]
mod traces;
mod waiting;
mod watched;
