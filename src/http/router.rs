//! The whole HTTP surface on one page.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use salvo::catcher::Catcher;
use salvo::conn::ConnCtrl;
use salvo::http::header::{
    ACCEPT, ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, VARY,
};
use salvo::http::{HeaderMap, Method, StatusCode};
use salvo::hyper::upgrade::OnUpgrade;
use salvo::prelude::*;
use serde_json::json;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::asset::Asset;
use super::head::{self, AsGet};
use super::negotiation::MetricsFormat;
use super::refused_clients::Source;
use super::strict_request::Strict;
use super::unread_body::Unread;
use super::{api, client_ip, demo, security_headers};
use crate::app::state::Server;
use crate::auth::{Caller, Refused};
use crate::protocol::close;
use crate::ws::handshake::{self, Path};
use crate::ws::session;

/// Every route, what is said where there is none, and what every answer has.
pub(crate) fn service(server: &Arc<Server>) -> Service {
    let tls = server.config.load().tls.files.is_some();
    served(server, router(server), tls)
}

fn served(server: &Arc<Server>, router: Router, tls: bool) -> Service {
    let router = Arc::new(router);
    let unrouted = Catcher::default().hoop(api::Unrouted(router.clone()));
    let service = Service::new(router).catcher(unrouted);
    service.hoop(security_headers::Headers { tls }).hoop(Unread(server.clone())).hoop(Strict)
}

fn router(server: &Arc<Server>) -> Router {
    let contract = |text: String| Asset::new("application/json", text);
    let mut router = Router::with_filter(AsGet)
        .push(Router::with_path("ws/chat").goal(Chat(server.clone(), Path::Room)))
        .push(Router::with_path("ws").goal(Chat(server.clone(), Path::All)))
        .push(Router::with_path("asyncapi.json").get(contract(server.runtime.contract(close::CODES))))
        .push(api::routes(server))
        .push(Router::with_path("openapi.json").get(contract(api::description())))
        .push(api::docs(server))
        .push(Router::with_path("healthz").get(Healthy))
        .push(Router::with_path("readyz").get(Ready { server: server.clone(), in_full: false }));
    if server.page.on {
        router = router.push(demo::routes(server));
    }
    router
}

/// What is for those who run it: the admin listener's.
pub(crate) fn admin(server: &Arc<Server>) -> Service {
    let router = Router::with_filter(AsGet)
        .push(Router::with_path("metrics").get(Measured(server.clone())))
        .push(Router::with_path("healthz").get(Healthy))
        .push(Router::with_path("readyz").get(Ready { server: server.clone(), in_full: true }));
    served(server, router, false)
}

/// `/ws/chat/` and `/ws/`: the sockets of one room, and of all rooms of a user.
struct Chat(Arc<Server>, Path);

#[async_trait]
impl Handler for Chat {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        if let Err(Refusal(status, reason)) = self.upgrade(req, res).await {
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

/// Why there is no upgrade: the status, and what a person reads.
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) &'static str);

impl Chat {
    /// Answers the handshake (RFC 6455, 4.2) and leaves the connection to a task of its own. Whom it is for is
    /// found out before, but told after: see [`admission`].
    async fn upgrade(&self, req: &mut Request, res: &mut Response) -> Result<(), Refusal> {
        let server = &self.0;
        if req.method() != Method::GET || head::is_head(req) {
            return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket is opened by GET"));
        }
        let key = websocket_key(req.headers())?;
        let (source, caller) = self.caller(req, res).await?;
        if matches!(&caller, Some(Err(refused)) if refused.is_too_long()) {
            server.metrics.limit("token_bytes");
        }
        let most = server.config.load().limits.sockets;
        let place = server.places.take(most).filter(|_| !server.is_draining());
        let place = place.ok_or_else(|| {
            server.metrics.limit("sockets");
            let reason = "the server has no place for another socket: try again later, or elsewhere";
            Refusal(StatusCode::SERVICE_UNAVAILABLE, reason)
        })?;
        let upgrade = req.extensions_mut().remove::<OnUpgrade>();
        let upgrade = upgrade.ok_or(Refusal(StatusCode::BAD_REQUEST, "this connection can't be upgraded"))?;
        let admission = handshake::admit(self.1, req.uri().query().unwrap_or_default(), caller);

        res.status_code(StatusCode::SWITCHING_PROTOCOLS);
        let headers = res.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, key);
        if let Some(spelling) = handshake::spelling(req.headers())
            && let Ok(spelling) = HeaderValue::from_str(spelling)
        {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, spelling);
        }
        if let Some(connection) = req.extensions().get::<ConnCtrl>() {
            // From here on it may be quiet, and what stalls is the socket's own business.
            connection.relax_timeouts();
        }
        if admission.is_ok()
            && let Some(peer) = req.remote_addr().clone().into_std()
        {
            server.arrivals.leave(peer);
        }
        let server = server.clone();
        self.0.tracker.spawn(async move {
            // An error here is a client that left in the middle of its handshake.
            if let Ok(io) = upgrade.await {
                session::serve(server, io, admission, place, source).await;
            }
        });
        Ok(())
    }
}

impl Chat {
    /// Checks the token, and finds whom a refusal is held against.
    ///
    /// # Errors
    /// 403: a page elsewhere made the connect. 429: its source was refused too often. That is a source without a good token, and
    /// no other one behind the same address.
    async fn caller(
        &self,
        req: &Request,
        res: &mut Response,
    ) -> Result<(Source, Option<Result<Caller, Refused>>), Refusal> {
        let server = &self.0;
        let config = server.config.load_full();
        let peer = req.remote_addr().ip().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let address = client_ip::of_client(peer, req.headers(), &config.http.proxies);
        let source = Source::of_address(address, &config);
        let blocked = server.refusals.wait(&source, &config);
        let origin = origin_allowed(req.headers(), &config.http.origins);
        if !origin && blocked.is_none() {
            server.metrics.connect("origin");
            server.refusals.add(&source, &config);
            return Err(Refusal(StatusCode::FORBIDDEN, "pages of this origin may not connect"));
        }
        let turns = blocked.map(|_| &server.refusals);
        // Where no known key has signed the token, the issuer is asked first; see `auth::issuer` for how often.
        let caller = match handshake::token(req.headers()).filter(|_| origin) {
            Some(token) => {
                let verified = server.verifier.verify_or_ask(token, turns);
                // A check takes no time, but there may be a queue for its turn.
                tokio::time::timeout(config.http.request + config.auth.fetch, verified).await.ok()
            }
            None => None,
        };
        let source = source.with_token(caller.as_ref());
        let Some(wait) = server.refusals.wait(&source, &config) else { return Ok((source, caller)) };
        server.metrics.limit("refusals_per_minute");
        server.metrics.connect("too_many_refused");
        res.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        let reason = "too many connects from this address were refused: see Retry-After";
        Err(Refusal(StatusCode::TOO_MANY_REQUESTS, reason))
    }
}

/// Base64 as every client writes it. Bits of the last character that say nothing may be anything (RFC 4648, 3.5).
const KEY_ENCODING: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The length of a client's key, in bytes (RFC 6455, 4.2.1).
const KEY_BYTES: usize = 16;

/// The answer to the client's key, where this is a handshake at all.
pub(crate) fn websocket_key(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let bad = |reason| Refusal(StatusCode::BAD_REQUEST, reason);
    let required = |reason| Refusal(StatusCode::UPGRADE_REQUIRED, reason);
    let has = |name, token: &str| items(headers, name).any(|item| item.eq_ignore_ascii_case(token));
    if !has(CONNECTION, "upgrade") || !has(UPGRADE, "websocket") {
        return Err(required("this is for WebSockets: Connection: Upgrade, Upgrade: websocket"));
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

/// The items of all lists that a header has. A value that is no text counts as one that nobody knows.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or("?"));
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// A client that names no origin is no browser, and has none to be checked.
pub(crate) fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let named = |origin: &str| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
    allowed.is_empty() || origin.to_str().is_ok_and(named)
}

/// `/healthz`: the process lives.
struct Healthy;

#[async_trait]
impl Handler for Healthy {
    async fn handle(&self, _: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        res.render(Json(json!({ "healthy": true })));
    }
}

/// `/metrics`, in the format that the client prefers.
struct Measured(Arc<Server>);

#[async_trait]
impl Handler for Measured {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        let format = MetricsFormat::wanted(req.headers());
        let headers = res.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
        headers.insert(VARY, HeaderValue::from_name(ACCEPT));
        // Text of known length: writing it can't fail.
        let _ = res.write_body(self.0.metrics.render(self.0.now(), format));
    }
}

/// `/readyz`: 200 while a heartbeat comes round, which takes the database and the feed; else 503 and which is not.
struct Ready {
    server: Arc<Server>,
    /// With what the driver says of the database, which names its members: for those who run it.
    in_full: bool,
}

#[async_trait]
impl Handler for Ready {
    async fn handle(&self, _: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        let Self { server, in_full } = self;
        let age = server.pulse.age();
        let keys = server.verifier.lacks_keys();
        let indexes = server.store.indexes().fault();
        let fresh = age.is_some_and(|age| age <= server.config.load().feed.stale);
        if !server.is_draining() && fresh && keys.is_none() && indexes.is_none() {
            res.render(Json(json!({ "ready": true })));
            return;
        }
        let database = server.store.ping().await;
        let told = match &database {
            Ok(()) => "ok".to_owned(),
            Err(error) if *in_full => error.to_string(),
            Err(_) => "away".to_owned(),
        };
        let heartbeat = age.map_or_else(
            || "none has come round yet".to_owned(),
            |age| format!("the last one came round {} ms ago", age.as_millis()),
        );
        let indexes = match indexes {
            None => "ok".to_owned(),
            Some(fault) if *in_full => fault,
            Some(_) => "missing".to_owned(),
        };
        res.status_code(StatusCode::SERVICE_UNAVAILABLE);
        res.render(Json(json!({
            "ready": false,
            "draining": server.is_draining(),
            "database": told,
            "feed": match &database {
                _ if fresh => "ok",
                // Without the database no heartbeat is written that could come round.
                Ok(()) if !server.is_draining() => "stalled",
                _ => "unknown",
            },
            "heartbeat": heartbeat,
            "keys": keys.unwrap_or("ok"),
            "indexes": indexes,
        })));
    }
}
