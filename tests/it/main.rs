//! Integration tests. They use Parlor as its clients do: over WebSockets, HTTP and the command line.
//!
//! Each test has its own database, and usually its own server in this process. A failed test prints all frames of its
//! sockets (the transcript).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failed test panics and prints the cause"
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
