//! The chat page at `/`, for trying Parlor out: static files that are part of the binary, and, on a server that is
//! for nobody else, tokens for whoever opens it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use handlers::{Time, UserId};
use salvo::http::StatusCode;
use salvo::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue};
use salvo::prelude::*;
use serde::Deserialize;
use serde_json::json;

use crate::auth;
use crate::config::{Config, PageEnabled};
use crate::server::Server;
use crate::store::{NewMember, Store, StoreError};

/// Nothing but the page's own files, and its own server to talk to.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How long a token of the page's is good for; the page gets a new one by itself.
const TOKEN_TTL: Duration = Duration::from_hours(1);

/// The largest body of `/page/session`, in bytes.
const MAX_BODY_BYTES: usize = 1024;

/// The files: path, type, contents.
const FILES: [(&str, &str, &str); 10] = [
    ("", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("page/style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("page/chat.js", "text/javascript; charset=utf-8", include_str!("page/chat.js")),
    ("page/composer.js", "text/javascript; charset=utf-8", include_str!("page/composer.js")),
    ("page/connection.js", "text/javascript; charset=utf-8", include_str!("page/connection.js")),
    ("page/dom.js", "text/javascript; charset=utf-8", include_str!("page/dom.js")),
    ("page/log.js", "text/javascript; charset=utf-8", include_str!("page/log.js")),
    ("page/outbox.js", "text/javascript; charset=utf-8", include_str!("page/outbox.js")),
    ("page/session.js", "text/javascript; charset=utf-8", include_str!("page/session.js")),
    ("page/favicon.svg", "image/svg+xml", include_str!("page/favicon.svg")),
];

/// What of it a server serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// The page itself.
    pub(crate) on: bool,
    /// Tokens, for whoever opens it.
    pub(crate) tokens: bool,
}

/// Whether the page is served; `embedded` is whether the database is the private one.
pub(crate) fn is_on(config: &Config, embedded: bool) -> bool {
    match config.page.enabled {
        PageEnabled::Auto => embedded,
        PageEnabled::On => true,
        PageEnabled::Off => false,
    }
}

/// Whether whoever opens the page may have a token. `private` is a private database and a listener on loopback: there
/// it is the same person who could read the secret from the disk.
pub(crate) fn may_make_tokens(config: &Config, private: bool) -> bool {
    private && is_on(config, private) && config.auth.secret.is_some()
}

/// The page's two users, and their room.
pub(crate) async fn make_room(store: &Store) -> Result<(), StoreError> {
    let member = |n| NewMember { user_id: UserId::Int(n), email: Some(format!("user{n}@example.com")) };
    store.make_room(&[member(1), member(2)]).await.map(|_| ())
}

pub(crate) fn routes(server: &Arc<Server>) -> Router {
    let router = Router::new().push(Router::with_path("page/session").post(Session(server.clone())));
    FILES.iter().fold(router, |router, (path, kind, contents)| {
        let here = if path.is_empty() { Router::new() } else { Router::with_path(*path) };
        router.push(here.get(File { kind, contents }))
    })
}

struct File {
    kind: &'static str,
    contents: &'static str,
}

#[async_trait]
impl Handler for File {
    async fn handle(&self, _: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        for (name, value) in
            [(CONTENT_TYPE, self.kind), (CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, "no-cache")]
        {
            res.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        // Static text: its length is known and writing it can't fail.
        let _ = res.write_body(self.contents);
    }
}

/// `POST /page/session {"user":1}`: a token for one of the page's two users.
struct Session(Arc<Server>);

#[derive(Deserialize)]
struct Who {
    user: i64,
}

#[async_trait]
impl Handler for Session {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        match self.token(req).await {
            Ok(session) => res.render(Json(session)),
            Err(status) => {
                res.status_code(status);
                res.render(status.canonical_reason().unwrap_or_default());
            }
        }
    }
}

impl Session {
    async fn token(&self, req: &mut Request) -> Result<serde_json::Value, StatusCode> {
        if !self.0.page.tokens || !asked_on_loopback(req) {
            return Err(StatusCode::NOT_FOUND);
        }
        let body = req.payload_with_max_size(MAX_BODY_BYTES).await.map_err(|_| StatusCode::BAD_REQUEST)?;
        let Who { user } = serde_json::from_slice(body).map_err(|_| StatusCode::BAD_REQUEST)?;
        let peer = match user {
            1 => 2,
            2 => 1,
            _ => return Err(StatusCode::BAD_REQUEST),
        };
        let email = format!("user{user}@example.com");
        let token = auth::sign(&self.0.config.load().auth, &UserId::Int(user), Some(&email), TOKEN_TTL);
        let token = token.map_err(|error| {
            tracing::error!(%error, "a token for the page can't be made");
            StatusCode::INTERNAL_SERVER_ERROR
        })?;
        let expires_at = SystemTime::now() + TOKEN_TTL;
        let expires_at = expires_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let expires_at = Time(i64::try_from(expires_at).unwrap_or(i64::MAX));
        Ok(json!({ "user_id": user, "peer_id": peer, "token": token, "expires_at": expires_at }))
    }
}

/// A page elsewhere can make a browser call 127.0.0.1 under a name of its own (DNS rebinding); the `Host` tells.
fn asked_on_loopback(req: &Request) -> bool {
    let host = req.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
    });
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}
