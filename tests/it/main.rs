//! Parlor through its front door: each test has a server of its own in this process, a database of its own,
//! and clients whose transcript is printed when it fails. What is held to its word here is the protocol.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test ends by panicking, and says why where its reader looks"
)]

mod actions;
mod app;
mod auth;
mod cli;
mod docs;
mod faults;
mod http;
mod jobs;
mod page;
mod realtime;
mod sources;
mod store;
mod support;
mod telemetry;
mod webhooks;
mod ws;
