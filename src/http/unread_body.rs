//! Handles the body of a request that was answered before the whole body was read.
//!
//! If a server closes a connection while the client still writes, the TCP connection is reset. Many clients first write
//! the whole body and only then read the answer. After a reset, such a client would never receive the answer. Therefore
//! the answer to a refused request says `Connection: close`. The server then reads and drops the rest of the body, up
//! to `http.discard_bytes` within `http.discard_ms`. If the handler of a successful request did not read the body, the
//! server reads and drops the body before it answers. The connection then stays open.

use std::sync::Arc;

use salvo::http::ReqBody;
use salvo::http::header::{CONNECTION, EXPECT, HeaderValue};
use salvo::hyper::body::Body as _;
use salvo::prelude::*;

use super::body;
use crate::config::live::LiveConfig;
use crate::telemetry::metrics::Metrics;

/// Runs after every handler, and drops the part of the body that the handler did not read.
#[derive(Clone)]
pub(crate) struct UnreadBody {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) metrics: Arc<Metrics>,
}

#[async_trait]
impl Handler for UnreadBody {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        ctrl.call_next(req, depot, res).await;
        let status = res.status_code.unwrap_or(StatusCode::OK);
        let from_network = req.body().is_hyper() && !req.body().is_end_stream();
        if !from_network || status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let mut unread = req.take_body();
        let refused = status.is_client_error() || status.is_server_error();
        if !refused && self.discard(&mut unread).await {
            return;
        }
        res.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        // A client that sent `Expect: 100-continue` sends no body after it receives an error, so there is nothing to
        // discard.
        if refused && !req.headers().contains_key(EXPECT) {
            let this = self.clone();
            tokio::spawn(async move { this.discard(&mut unread).await });
        }
    }
}

impl UnreadBody {
    /// Reads and drops the rest of the body. Returns false if the rest is too long, does not end in time, or can't be
    /// read.
    async fn discard(&self, unread: &mut ReqBody) -> bool {
        let (mut left, timeout) = {
            let http = &self.config.load().http;
            (http.discard_bytes, http.discard)
        };
        let discarding = async {
            while let Some(bytes) = body::skip(unread).await {
                let Some(fewer) = left.checked_sub(bytes) else {
                    self.metrics.bound_hit("discard_bytes");
                    return false;
                };
                left = fewer;
            }
            unread.is_end_stream()
        };
        tokio::time::timeout(timeout, discarding).await.unwrap_or_else(|_| {
            self.metrics.bound_hit("discard_ms");
            false
        })
    }
}
