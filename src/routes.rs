//! The whole HTTP surface on one page.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use salvo::catcher::Catcher;
use salvo::conn::ConnCtrl;
use salvo::http::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use salvo::http::{HeaderMap, Method, StatusCode};
use salvo::hyper::upgrade::OnUpgrade;
use salvo::prelude::*;
use serde_json::json;
use tokio_tungstenite::tungstenite::Bytes;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::admission::Path;
use crate::server::Server;
use crate::{address, admission, api, close, page, secure, socket};

/// Every route, what is said where there is none, and what every answer has.
pub(crate) fn service(server: &Arc<Server>) -> Service {
    let tls = server.config.load().tls.files.is_some();
    let unrouted = Catcher::default().hoop(api::Unrouted);
    Service::new(router(server)).catcher(unrouted).hoop(secure::Headers { tls })
}

fn router(server: &Arc<Server>) -> Router {
    let mut router = Router::new()
        .push(Router::with_path("ws/chat").goal(Chat(server.clone(), Path::Room)))
        .push(Router::with_path("ws").goal(Chat(server.clone(), Path::All)))
        .push(Router::with_path("asyncapi.json").get(Contract(server.runtime.contract(close::CODES).into())))
        .push(api::routes(server))
        .push(Router::with_path("openapi.json").get(Contract(api::description().into())))
        .push(api::docs(server))
        .push(Router::with_path("healthz").get(Healthy))
        .push(Router::with_path("readyz").get(Ready { server: server.clone(), in_full: false }));
    if server.page.on {
        router = router.push(page::routes(server));
    }
    router
}

/// What is for those who run it: the admin listener's.
pub(crate) fn admin(server: &Arc<Server>) -> Service {
    let router = Router::new()
        .push(Router::with_path("metrics").get(Measured(server.clone())))
        .push(Router::with_path("healthz").get(Healthy))
        .push(Router::with_path("readyz").get(Ready { server: server.clone(), in_full: true }));
    Service::new(router).hoop(secure::Headers { tls: false })
}

/// `/ws/chat/` and `/ws/`: the sockets of one room, and of all rooms of a user.
struct Chat(Arc<Server>, Path);

#[async_trait]
impl Handler for Chat {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        if let Err(status) = self.upgrade(req, res).await {
            res.status_code(status);
            if status == StatusCode::UPGRADE_REQUIRED {
                res.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
                res.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            res.render(status.canonical_reason().unwrap_or_default());
        }
    }
}

impl Chat {
    /// Answers the handshake (RFC 6455, 4.2) and leaves the connection to a task of its own. Whom it is for is
    /// found out before, but told after: see [`admission`].
    async fn upgrade(&self, req: &mut Request, res: &mut Response) -> Result<(), StatusCode> {
        let server = &self.0;
        if req.method() != Method::GET {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let key = websocket_key(req.headers())?;
        let address = self.address(req, res)?;
        // Where no known key has signed the token, the issuer is asked first; see `auth::issuer` for how often.
        let caller = match admission::token(req.headers()) {
            Some(token) => Some(server.verifier.verify_or_ask(token).await),
            None => None,
        };
        let most = server.config.load().limits.sockets;
        let place = server.places.take(most).filter(|_| !server.is_draining());
        let place = place.ok_or_else(|| {
            server.metrics.limit("sockets");
            StatusCode::SERVICE_UNAVAILABLE
        })?;
        let upgrade = req.extensions_mut().remove::<OnUpgrade>().ok_or(StatusCode::BAD_REQUEST)?;
        let admission = admission::admit(self.1, req.uri().query().unwrap_or_default(), caller);

        res.status_code(StatusCode::SWITCHING_PROTOCOLS);
        let headers = res.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, key);
        if let Some(spelling) = admission::spelling(req.headers())
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
                socket::serve(server, io, admission, place, address).await;
            }
        });
        Ok(())
    }
}

impl Chat {
    /// From where this is, unless no more is heard from there for now, or a page elsewhere made it.
    fn address(&self, req: &Request, res: &mut Response) -> Result<IpAddr, StatusCode> {
        let server = &self.0;
        let config = server.config.load();
        let peer = req.remote_addr().ip().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let address = address::of_client(peer, req.headers(), &config.http.proxies);
        if let Some(wait) = server.refusals.wait(address, &config) {
            server.metrics.limit("refusals_per_minute");
            server.metrics.connect("too_many_refused");
            res.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
            return Err(StatusCode::TOO_MANY_REQUESTS);
        }
        if !origin_allowed(req.headers(), &config.http.origins) {
            server.metrics.connect("origin");
            server.refusals.add(address, &config);
            return Err(StatusCode::FORBIDDEN);
        }
        Ok(address)
    }
}

/// The answer to the client's key, where this is a handshake at all.
pub(crate) fn websocket_key(headers: &HeaderMap) -> Result<HeaderValue, StatusCode> {
    let has = |name, token: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|list| list.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
    };
    if !has(CONNECTION, "upgrade") || !has(UPGRADE, "websocket") || !has(SEC_WEBSOCKET_VERSION, "13") {
        return Err(StatusCode::UPGRADE_REQUIRED);
    }
    // 16 bytes in base64 (RFC 6455, 4.2.1).
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24).ok_or(StatusCode::BAD_REQUEST)?;
    derive_accept_key(key.as_bytes()).try_into().map_err(|_| StatusCode::BAD_REQUEST)
}

/// A client that names no origin is no browser, and has none to be checked.
pub(crate) fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let named = |origin: &str| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
    allowed.is_empty() || origin.to_str().is_ok_and(named)
}

/// `/asyncapi.json` and `/openapi.json`: what goes over the socket, and what the API takes, for programs.
struct Contract(Bytes);

#[async_trait]
impl Handler for Contract {
    async fn handle(&self, _: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Bytes of known length: writing them can't fail.
        let _ = res.write_body(self.0.clone());
    }
}

/// `/healthz`: the process lives.
struct Healthy;

#[async_trait]
impl Handler for Healthy {
    async fn handle(&self, _: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        res.render(Json(json!({ "healthy": true })));
    }
}

/// `/metrics`, in the text format of `OpenMetrics`.
struct Measured(Arc<Server>);

#[async_trait]
impl Handler for Measured {
    async fn handle(&self, _: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        res.headers_mut().insert(CONTENT_TYPE, kind);
        // Text of known length: writing it can't fail.
        let _ = res.write_body(self.0.metrics.render(self.0.now()));
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
        if !server.is_draining()
            && age.is_some_and(|age| age <= server.config.load().feed.stale)
            && keys.is_none()
            && indexes.is_none()
        {
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
            "feed": if database.is_ok() && !server.is_draining() { "stalled" } else { "unknown" },
            "heartbeat": heartbeat,
            "keys": keys.unwrap_or("ok"),
            "indexes": indexes,
        })));
    }
}
