//! Sets the security headers of every HTTP answer. With these headers, a browser does not guess another content type,
//! and does not show the answer inside a frame of another site. A handler may set other values for its answers.

use salvo::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use salvo::prelude::*;

/// The headers and their values. The content security policy allows a page to load nothing. Therefore a handler that
/// serves a page sets its own policy.
const HEADERS: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (X_FRAME_OPTIONS, "DENY"),
    (CACHE_CONTROL, "no-store"),
];

/// The value of `Strict-Transport-Security`: for one year, a browser must connect to this host only over TLS.
/// `includeSubDomains` is absent, because other host names of the domain may be served without TLS.
const ALWAYS_TLS: &str = "max-age=31536000";

/// Adds the headers to the answer of each handler. The answer to a successful WebSocket upgrade gets no such headers.
pub(crate) struct SecurityHeaders {
    /// Whether the answers are sent over TLS.
    pub(crate) tls: bool,
}

#[async_trait]
impl Handler for SecurityHeaders {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        ctrl.call_next(req, depot, res).await;
        if res.status_code == Some(StatusCode::SWITCHING_PROTOCOLS) {
            return;
        }
        let tls = self.tls.then_some((STRICT_TRANSPORT_SECURITY, ALWAYS_TLS));
        for (name, value) in HEADERS.into_iter().chain(tls) {
            res.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
        }
    }
}
