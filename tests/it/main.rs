//! Integration tests. They use Parlor as its clients do: by WebSockets, HTTP and the command line.
//!
//! Each test starts its own server in this process, with its own database. A failed test prints the transcript of its sockets.
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
