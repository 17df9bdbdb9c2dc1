//! The HTTP server. It refuses invalid requests, handles bodies that no handler has read, and serves files. The API,
//! the messenger and the WebSocket upgrade are parts of this module.

pub mod api;
pub(crate) mod asset;
pub(crate) mod body;
pub(crate) mod connection_limit;
pub(crate) mod demo;
pub(crate) mod head;
pub(crate) mod health;
pub(crate) mod metrics_page;
pub(crate) mod negotiation;
pub(crate) mod router;
pub(crate) mod security_headers;
pub(crate) mod strict_request;
pub(crate) mod tls;
pub(crate) mod unread_body;
pub(crate) mod unrouted;
pub(crate) mod upgrade;
