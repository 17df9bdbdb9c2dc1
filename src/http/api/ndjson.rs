//! Streamed answers of JSON lines, one object on each line. The server writes only as fast as the client reads.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use salvo::http::ResBody;
use salvo::http::body::BodySender;
use salvo::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use salvo::prelude::*;
use salvo_oapi::{BasicType, Components, Content, EndpointOutRegister, Object, Operation};
use serde::Serialize;

use super::ApiServices;
use super::problem::{ProblemCode, may_fail};
use super::service_keys::Access;
use crate::telemetry::metrics::Metrics;

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The size of a chunk in bytes. The writer collects lines until a chunk has this size, and then writes the chunk.
const CHUNK_BYTES: usize = 32 * 1024;

/// An answer of JSON lines (`application/x-ndjson`) that is still being written.
pub(super) struct NdjsonResponse(ResBody);

/// Writes the lines of an answer.
pub(super) struct LineWriter {
    sender: BodySender,
    waiting: String,
    /// The longest time that a write may wait for a client that does not read. After this time the answer is closed.
    limit: Duration,
    metrics: Arc<Metrics>,
    /// Resolves when the client's service key is removed.
    removed: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// The client no longer reads, or its service key was removed.
#[derive(Debug)]
pub(super) struct StreamClosed;

impl NdjsonResponse {
    /// Creates an answer, and the writer through which a task adds lines to the answer.
    pub(super) fn new(services: &ApiServices, access: Access) -> (LineWriter, Self) {
        let (sender, body) = ResBody::channel();
        let (limit, metrics) = (services.config.load().limits.write, services.metrics.clone());
        let removed = Box::pin(access.removed());
        (LineWriter { sender, waiting: String::new(), limit, metrics, removed }, Self(body))
    }
}

impl LineWriter {
    /// Adds a line. The writer collects several lines before it writes them.
    pub(super) async fn line(&mut self, line: &impl Serialize) -> Result<(), StreamClosed> {
        // The lines are types of this crate, and their encoding can't fail.
        self.waiting.push_str(&serde_json::to_string(line).unwrap_or_default());
        self.end_line().await
    }

    /// Adds a line that is already encoded, or an empty line.
    pub(super) async fn encoded(&mut self, line: &str) -> Result<(), StreamClosed> {
        self.waiting.push_str(line);
        self.end_line().await
    }

    async fn end_line(&mut self) -> Result<(), StreamClosed> {
        self.waiting.push('\n');
        if self.waiting.len() < CHUNK_BYTES { Ok(()) } else { self.flush().await }
    }

    /// Writes the collected lines.
    pub(super) async fn flush(&mut self) -> Result<(), StreamClosed> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.waiting);
        let sent = tokio::select! {
            biased;
            () = &mut self.removed => return Err(self.refuse()),
            sent = tokio::time::timeout(self.limit, self.sender.send_data(chunk)) => sent,
        };
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(StreamClosed),
            Err(_) => {
                self.metrics.bound_hit("write_ms");
                Err(StreamClosed)
            }
        }
    }

    /// Waits until the client's service key is removed. The answer is then aborted, and the caller must not write any
    /// more lines.
    pub(super) async fn removed(&mut self) -> StreamClosed {
        (&mut self.removed).await;
        self.refuse()
    }

    /// Aborts the answer, because the client's service key was removed.
    fn refuse(&mut self) -> StreamClosed {
        self.removed = Box::pin(std::future::ready(()));
        self.sender.send_error(io::Error::other("the service key was removed"));
        StreamClosed
    }

    /// Aborts the answer, so that the client notices that the answer is incomplete.
    pub(super) fn break_off(mut self) {
        self.sender.send_error(io::Error::other("the answer broke off"));
    }
}

#[async_trait]
impl Writer for NdjsonResponse {
    async fn write(self, _: &mut Request, _: &mut Depot, res: &mut Response) {
        res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        res.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Without this header, nginx and some other proxies would hold lines back until their buffer is full.
        res.headers_mut().insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        res.body(self.0);
    }
}

impl EndpointOutRegister for NdjsonResponse {
    fn register(components: &mut Components, operation: &mut Operation) {
        may_fail(components, operation, &[ProblemCode::Busy]);
        let line = Object::with_type(BasicType::String).description("JSON lines: an object on each line.");
        let response = salvo_oapi::Response::new("JSON lines.");
        operation.responses.insert("200", response.add_content("application/x-ndjson", Content::new(line)));
    }
}
