//! The upgrade of an HTTP connection to a WebSocket.
//!
//! Parlor answers the handshake itself, because salvo's WebSocket support has two problems. First, it hides the raw
//! stream, but Parlor needs this stream to limit the time of each write. Second, it panics if an upgrade fails.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use salvo::conn::ConnCtrl;
use salvo::http::header::{
    ALLOW, CONNECTION, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use salvo::http::{HeaderMap, Method, StatusCode};
use salvo::hyper::upgrade::OnUpgrade;
use salvo::prelude::*;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::connection_limit::OpenConnections;
use super::head;
use crate::auth::refused_clients::{ConnectingClient, RefusedClients};
use crate::auth::{Caller, TokenError, Verifier};
use crate::config::live::LiveConfig;
use crate::lifecycle::Lifecycle;
use crate::limits::permits::Permits;
use crate::protocol::client_ip;
use crate::telemetry::metrics::Metrics;
use crate::ws::handshake::{self, HandshakePath};
use crate::ws::serve;
use crate::ws::services::SocketServices;

/// The parts of the server that an upgrade needs.
pub(crate) struct UpgradeServices {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) verifier: Verifier,
    pub(crate) refusals: Arc<RefusedClients>,
    /// The connections that count for `http.connections_per_address`. A connection that becomes a WebSocket with a
    /// valid token is removed from the count.
    pub(crate) connections: Arc<OpenConnections>,
    /// Each socket holds one of these permits: from before the upgrade until after the close.
    pub(crate) permits: Permits,
    pub(crate) sessions: Arc<SocketServices>,
}

/// Serves `/ws/chat/` and `/ws/`: the WebSockets of one room, and of a user's inbox (Level 3).
pub(crate) struct UpgradeHandler {
    pub(crate) services: Arc<UpgradeServices>,
    pub(crate) path: HandshakePath,
}

#[async_trait]
impl Handler for UpgradeHandler {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        if let Err(UpgradeRefusal(status, reason)) = self.upgrade(req, res).await {
            res.status_code(status);
            let headers = res.headers_mut();
            if status == StatusCode::UPGRADE_REQUIRED {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            if status == StatusCode::METHOD_NOT_ALLOWED {
                headers.insert(ALLOW, HeaderValue::from_static("GET"));
            }
            res.render(reason);
        }
    }
}

/// The refusal of an upgrade: the HTTP status, and a text for people.
pub(crate) struct UpgradeRefusal(pub(crate) StatusCode, pub(crate) &'static str);

impl UpgradeHandler {
    /// Answers the handshake (RFC 6455, 4.2) and gives the connection to a separate task. The token and the ids are
    /// checked before the upgrade. If the token or an id is wrong, the upgrade still happens, and the client then
    /// receives the refusal as a close code: see [`handshake`].
    async fn upgrade(&self, req: &mut Request, res: &mut Response) -> Result<(), UpgradeRefusal> {
        let services = &self.services;
        if req.method() != Method::GET || head::is_head(req) {
            return Err(UpgradeRefusal(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket is opened by GET"));
        }
        let key = websocket_key(req.headers())?;
        let (client, caller) = self.caller(req, res).await?;
        if matches!(&caller, Some(Err(refused)) if refused.is_too_long()) {
            services.metrics.bound_hit("token_bytes");
        }
        let most = services.config.load().limits.sockets;
        let place = services.permits.acquire(most).filter(|_| !services.lifecycle.is_draining());
        let place = place.ok_or_else(|| {
            services.metrics.bound_hit("sockets");
            let reason = "the server has reached its limit of sockets: try again later, or on another server";
            self.refusal(&client, StatusCode::SERVICE_UNAVAILABLE, reason)
        })?;
        let upgrade = req.extensions_mut().remove::<OnUpgrade>();
        let upgrade =
            upgrade.ok_or(UpgradeRefusal(StatusCode::BAD_REQUEST, "this connection can't be upgraded"))?;
        let admission = handshake::admit(self.path, req.uri().query().unwrap_or_default(), caller);

        res.status_code(StatusCode::SWITCHING_PROTOCOLS);
        let headers = res.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, key);
        if let Some(spelling) = handshake::offered_bearer_protocol(req.headers())
            && let Ok(spelling) = HeaderValue::from_str(spelling)
        {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, spelling);
        }
        if let Some(connection) = req.extensions().get::<ConnCtrl>() {
            // After the upgrade, the client may send nothing for a long time. Therefore the timeouts of HTTP
            // connections no longer apply. The socket's task has its own timeouts for stalled reads and writes.
            connection.relax_timeouts();
        }
        if admission.is_ok()
            && let Some(peer) = req.remote_addr().clone().into_std()
        {
            services.connections.remove(peer);
        }
        let sessions = services.sessions.clone();
        services.lifecycle.spawn(async move {
            // An error here means that the client disconnected during its handshake.
            if let Ok(io) = upgrade.await {
                serve::serve(sessions, io, admission, place, client).await;
            }
        });
        Ok(())
    }
}

impl UpgradeHandler {
    /// Checks the token. Returns the client, with the source for which a later refusal is counted. The source is the user
    /// of a token with a valid signature, even if the token is expired or not valid yet. Otherwise the source is the
    /// client's address.
    ///
    /// # Errors
    /// 403: the page's origin is not allowed. 429: connects of the source were refused too often. If refusals block an
    /// address, a client behind this address can still connect with a valid token.
    async fn caller(
        &self,
        req: &Request,
        res: &mut Response,
    ) -> Result<(ConnectingClient, Option<Result<Caller, TokenError>>), UpgradeRefusal> {
        let services = &self.services;
        let config = services.config.load_full();
        let peer = req.remote_addr().ip().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let address = client_ip::resolve(peer, req.headers(), &config.http.proxies);
        let client = ConnectingClient::from_address(address, &config);
        let blocked = services.refusals.blocked_for(&client.source, &config);
        let origin = origin_allowed(req.headers(), &config.http.origins);
        if !origin && blocked.is_none() {
            services.metrics.connect("origin");
            services.refusals.count(&client.source, &config);
            return Err(self.refusal(&client, StatusCode::FORBIDDEN, "pages of this origin may not connect"));
        }
        let checks = blocked.map(|_| &*services.refusals);
        // If the token was signed with an unknown key, Parlor first fetches the issuer's keys. `auth::issuer` limits
        // the rate of these fetches.
        let caller = match handshake::token(req.headers()).filter(|_| origin) {
            Some(token) => {
                let verified = services.verifier.verify_or_refetch(token, checks);
                // The check itself takes microseconds. If the address is blocked, the check first waits for one of the
                // `limits.blocked_checks` permits.
                tokio::time::timeout(config.http.request + config.auth.fetch, verified).await.ok()
            }
            None => None,
        };
        let client = client.with_token(caller.as_ref());
        let Some(wait) = services.refusals.blocked_for(&client.source, &config) else {
            return Ok((client, caller));
        };
        services.metrics.bound_hit("refusals_per_minute");
        services.metrics.connect("too_many_refused");
        res.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        let reason = "too many connects from this address were refused: see Retry-After";
        Err(self.refusal(&client, StatusCode::TOO_MANY_REQUESTS, reason))
    }

    /// Logs a refused connect, and returns its answer.
    fn refusal(&self, client: &ConnectingClient, status: StatusCode, reason: &'static str) -> UpgradeRefusal {
        self.services.refusals.log(client, status.as_u16(), reason);
        UpgradeRefusal(status, reason)
    }
}

/// The encoding of `Sec-WebSocket-Key`: base64. Unused bits of the last character may have any value (RFC 4648, 3.5).
const KEY_ENCODING: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The length of a client's key, in bytes (RFC 6455, 4.2.1).
const KEY_BYTES: usize = 16;

/// Returns the value of `Sec-WebSocket-Accept` for the client's key. Fails if the headers do not form a valid
/// handshake.
pub(crate) fn websocket_key(headers: &HeaderMap) -> Result<HeaderValue, UpgradeRefusal> {
    let bad = |reason| UpgradeRefusal(StatusCode::BAD_REQUEST, reason);
    let required = |reason| UpgradeRefusal(StatusCode::UPGRADE_REQUIRED, reason);
    let has = |name, token: &str| items(headers, name).any(|item| item.eq_ignore_ascii_case(token));
    if !has(CONNECTION, "upgrade") || !has(UPGRADE, "websocket") {
        return Err(required(
            "this path is for WebSockets: send the headers Connection: Upgrade and Upgrade: websocket",
        ));
    }
    let mut versions = items(headers, SEC_WEBSOCKET_VERSION);
    let version = versions.next();
    if versions.next().is_some() {
        return Err(bad("Sec-WebSocket-Version: is given twice"));
    }
    if version != Some("13") {
        return Err(required("Sec-WebSocket-Version: must be 13"));
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).into_iter();
    let key = keys.next().ok_or(bad("Sec-WebSocket-Key: is missing"))?;
    if keys.next().is_some() {
        return Err(bad("Sec-WebSocket-Key: is given twice"));
    }
    let is_key = KEY_ENCODING.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES);
    let accept = Some(key).filter(|_| is_key).map(|key| derive_accept_key(key.as_bytes()));
    let accept = accept.and_then(|accept| accept.try_into().ok());
    accept.ok_or(bad("Sec-WebSocket-Key: must be 16 bytes in base64"))
}

/// Returns all items of a header. A request may repeat the header, and each value is a list of items. A value that is
/// not ASCII becomes the item `?`, which matches nothing.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or("?"));
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// Returns whether the origin is allowed. A client without an `Origin` header is no browser and is always allowed.
pub(crate) fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let named = |origin: &str| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
    allowed.is_empty() || origin.to_str().is_ok_and(named)
}
