//! Tests of the HTTP listeners: their limits, TLS, proxies, and the HTTP API.

mod admin_listener;
mod bodies;
mod bounds;
mod connection_floods;
mod generated_client;
mod idempotency;
mod malformed_requests;
mod members;
mod messages;
mod openapi;
mod paths;
mod proxies;
mod responses;
mod rest_api;
mod room_events;
pub(crate) mod rooms;
mod tls;
mod tls_commands;
mod users;
