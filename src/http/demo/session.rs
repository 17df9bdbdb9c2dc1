//! Takes the place of the application, so that a developer can try the messenger without an application. This module
//! makes tokens and rooms for the page's users, but only on a server that is private to one developer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use handlers::{Role, Time};
use salvo::http::StatusCode;
use salvo::http::header::{HOST, HeaderName};
use salvo::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{DemoServices, person};
use crate::auth;
use crate::http::body::{self, BodyError};
use crate::model::room::StoredRoomKind;
use crate::store::{RoomPlan, StoreError};
use crate::ws::handshake;

/// The number of users that the page offers. The users have the ids 1 to 9.
const PEOPLE: i64 = 9;

/// How long a token of the page is valid. The page requests a new token before this time is over.
const TOKEN_TTL: Duration = Duration::from_hours(1);

/// The longest name of a room, in characters.
const MAX_NAME_CHARS: usize = 60;

/// The headers in which proxies name their clients.
const FORWARDED: [HeaderName; 3] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];

/// The largest body of a request, in bytes.
const MAX_BODY_BYTES: usize = 1024;

pub(super) fn routes(services: &Arc<DemoServices>) -> Router {
    Router::new()
        .push(Router::with_path("page/session").post(TokenHandler(services.clone())))
        .push(Router::with_path("page/room").post(RoomHandler(services.clone())))
}

/// `POST /page/session {"user":1}`: returns a token for one of the page's users.
struct TokenHandler(Arc<DemoServices>);

#[derive(Deserialize)]
struct TokenRequest {
    user: i64,
}

#[async_trait]
impl Handler for TokenHandler {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        respond(res, self.token(req).await);
    }
}

impl TokenHandler {
    async fn token(&self, req: &mut Request) -> Result<Value, StatusCode> {
        let TokenRequest { user } = parse_request(&self.0, req).await?;
        if !(1..=PEOPLE).contains(&user) {
            return Err(StatusCode::BAD_REQUEST);
        }
        let who = person(user);
        let auth = &self.0.config.load().auth;
        let ttl = auth.max_lifetime.map_or(TOKEN_TTL, |most| most.min(TOKEN_TTL));
        let token = auth::sign(auth, &who.user_id, who.email.as_deref(), ttl);
        let token = token.map_err(|error| {
            tracing::error!(%error, "could not create a token for the messenger");
            StatusCode::INTERNAL_SERVER_ERROR
        })?;
        let expires_at = SystemTime::now() + ttl;
        let expires_at = expires_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let expires_at = Time(i64::try_from(expires_at).unwrap_or(i64::MAX));
        Ok(json!({ "user_id": who.user_id, "people": PEOPLE, "token": token, "expires_at": expires_at }))
    }
}

/// `POST /page/room {"members":[2]}`: creates or finds the direct room of the caller and one other user. With several
/// members, or with a `name`, it creates a group whose admin is the caller. The caller is the user of the token in the
/// request. A page of another site has no token, so that page can't create rooms.
struct RoomHandler(Arc<DemoServices>);

#[derive(Deserialize)]
struct RoomRequest {
    members: Vec<i64>,
    name: Option<String>,
}

#[async_trait]
impl Handler for RoomHandler {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        respond(res, self.make(req).await);
    }
}

impl RoomHandler {
    async fn make(&self, req: &mut Request) -> Result<Value, StatusCode> {
        let RoomRequest { members, name } = parse_request(&self.0, req).await?;
        let token = handshake::token(req.headers()).ok_or(StatusCode::UNAUTHORIZED)?;
        let caller = self.0.verifier.verify(token).map_err(|_| StatusCode::UNAUTHORIZED)?;
        let me = (1..=PEOPLE).find(|number| person(*number).user_id == caller.user);
        let me = me.ok_or(StatusCode::FORBIDDEN)?;

        let mut others = members;
        others.sort_unstable();
        let differ = others.windows(2).all(|pair| pair[0] != pair[1]);
        let are_people = others.iter().all(|other| (1..=PEOPLE).contains(other) && *other != me);
        let is_named = name.as_deref().is_none_or(is_name);
        if others.is_empty() || !differ || !are_people || !is_named {
            return Err(StatusCode::BAD_REQUEST);
        }
        let is_group = others.len() > 1 || name.is_some();
        let (kind, role) = if is_group {
            (StoredRoomKind::Group, Role::Admin)
        } else {
            (StoredRoomKind::Direct, Role::Member)
        };
        let others = others.into_iter().map(|other| (person(other), Role::Member));
        let members: Vec<_> = std::iter::once((person(me), role)).chain(others).collect();
        let plan = RoomPlan { kind, name: name.as_deref(), members: &members, made_by: None, attempt: None };
        let room = self.0.store.make(plan).await.map_err(|error| failed(&error))?;
        Ok(json!({ "room_id": room.id }))
    }
}

/// Parses a request. Fails with 404 unless this server makes tokens and rooms for everyone who opens the page.
async fn parse_request<T: for<'a> Deserialize<'a>>(
    services: &DemoServices,
    req: &mut Request,
) -> Result<T, StatusCode> {
    let config = services.config.load_full();
    // A reload may have changed `auth` or `http.proxies` since the start, so this function checks both settings again.
    let may = services.page.tokens && config.auth.secret_is_own && config.http.proxies.is_empty();
    if !may || !is_on_loopback(req) {
        return Err(StatusCode::NOT_FOUND);
    }
    let body = body::read(req, MAX_BODY_BYTES, config.http.request).await;
    let body = body.map_err(|fault| match fault {
        BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::Late => StatusCode::REQUEST_TIMEOUT,
        BodyError::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        BodyError::Broken => StatusCode::BAD_REQUEST,
    })?;
    serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)
}

fn respond(res: &mut Response, answer: Result<Value, StatusCode>) {
    match answer {
        Ok(value) => res.render(Json(value)),
        Err(status) => {
            res.status_code(status);
            res.render(status.canonical_reason().unwrap_or_default());
        }
    }
}

fn is_name(name: &str) -> bool {
    let fits = name.chars().count() <= MAX_NAME_CHARS;
    fits && !name.trim().is_empty() && !name.chars().any(char::is_control)
}

fn failed(error: &StoreError) -> StatusCode {
    tracing::error!(%error, "could not create a room for the messenger");
    StatusCode::SERVICE_UNAVAILABLE
}

/// Returns whether the request was sent directly to this machine. A page of another site can make a browser send
/// requests to 127.0.0.1 under that site's host name (DNS rebinding). The header `Host` then contains the site's host
/// name, and the request is refused. A request with a header that only proxies add is refused, too.
fn is_on_loopback(req: &Request) -> bool {
    if FORWARDED.iter().any(|name| req.headers().contains_key(name)) {
        return false;
    }
    let host = req.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
    });
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}
