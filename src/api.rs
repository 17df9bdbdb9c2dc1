//! The REST API: just enough for an application to provision rooms.

use std::collections::HashSet;
use std::sync::Arc;

use salvo::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use salvo::http::{ParseError, StatusCode};
use salvo::prelude::*;
use serde::Deserialize;
use serde_json::json;

use crate::auth::MAX_EMAIL_BYTES;
use crate::config::Secret;
use crate::server::Server;
use crate::store::{NewMember, StoreError};

/// The largest body, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The most members that a room can be made with.
pub const MAX_MEMBERS: usize = 500;

/// `POST /api/v1/rooms`: makes the room of these users, or finds the one that a pair has.
pub(crate) struct MakeRoom(pub(crate) Arc<Server>);

#[derive(Deserialize)]
struct Body {
    members: Vec<NewMember>,
}

#[async_trait]
impl Handler for MakeRoom {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        match self.make(req).await {
            Ok((status, room)) => {
                res.status_code(status);
                res.render(Json(room));
            }
            Err(problem) => problem.render(res),
        }
    }
}

impl MakeRoom {
    async fn make(&self, req: &mut Request) -> Result<(StatusCode, serde_json::Value), Problem> {
        authorize(req, &self.0.config.api.keys)?;
        let body = req.payload_with_max_size(MAX_BODY_BYTES).await;
        let body = body.map_err(Problem::from)?;
        let Body { members } = parse(body)
            .map_err(|error| Problem::invalid(format!("the body is not what it should be: {error}")))?;
        check_members(&members).map_err(Problem::invalid)?;
        let room = self.0.store.make_room(&members).await?;
        let members = self.0.store.member_list(room.id).await?;
        let kind = if members.len() == 2 { "direct" } else { "group" };
        let status = if room.made { StatusCode::CREATED } else { StatusCode::OK };
        Ok((status, json!({ "room_id": room.id, "kind": kind, "members": members })))
    }
}

/// Objects by their fields' names only: what is derived would take an array of their values as well.
fn parse(body: &[u8]) -> serde_json::Result<Body> {
    let body: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body)?;
    let objects = |list: &serde_json::Value| {
        list.as_array().is_some_and(|list| list.iter().all(serde_json::Value::is_object))
    };
    if !body.get("members").is_some_and(objects) {
        return Err(serde::de::Error::custom("`members` must be a list of objects"));
    }
    serde_json::from_value(body.into())
}

/// Whether a room can be made with these: from 2 to [`MAX_MEMBERS`] that differ, with addresses that are some.
///
/// # Errors
/// What is wrong with them.
pub fn check_members(members: &[NewMember]) -> Result<(), String> {
    if !(2..=MAX_MEMBERS).contains(&members.len()) {
        return Err(format!("members: from 2 to {MAX_MEMBERS} are needed"));
    }
    let different: HashSet<_> = members.iter().map(|member| &member.user_id).collect();
    if different.len() < members.len() {
        return Err("members: a user is named twice".to_owned());
    }
    let bad = |email: &String| {
        email.is_empty() || email.len() > MAX_EMAIL_BYTES || email.chars().any(char::is_control)
    };
    if members.iter().filter_map(|member| member.email.as_ref()).any(bad) {
        return Err("members: an email is empty, too long, or has control characters".to_owned());
    }
    Ok(())
}

/// A service key, in whatever case the scheme is written.
fn authorize(req: &Request, keys: &[Secret]) -> Result<(), Problem> {
    let header = req.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, given) = header.and_then(|header| header.split_once(' ')).unwrap_or_default();
    let known = keys.iter().filter(|key| same(key.expose().as_bytes(), given.trim().as_bytes())).count() > 0;
    if known && scheme.eq_ignore_ascii_case("bearer") { Ok(()) } else { Err(Problem::UNAUTHORIZED) }
}

/// Takes as long wherever the two differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// Problem details (RFC 9457) with a stable code.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: std::borrow::Cow<'static, str>,
}

impl Problem {
    const UNAUTHORIZED: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        code: "unauthorized",
        detail: std::borrow::Cow::Borrowed("a service key is needed: Authorization: Bearer <key>"),
    };

    fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "invalid_request", detail: detail.into() }
    }

    fn render(self, res: &mut Response) {
        let Self { status, code, detail } = self;
        let title = status.canonical_reason().unwrap_or_default();
        res.status_code(status);
        if status == StatusCode::UNAUTHORIZED {
            res.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        res.render(Json(
            json!({ "title": title, "status": status.as_u16(), "code": code, "detail": detail }),
        ));
        res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    }
}

impl From<ParseError> for Problem {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::PayloadTooLarge => Self {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                code: "too_large",
                detail: format!("the body is over {MAX_BODY_BYTES} bytes").into(),
            },
            _ => Self::invalid("the body can't be read"),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "an API request failed");
        match error {
            StoreError::Fault(_) => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                code: "internal",
                detail: "internal error".into(),
            },
            _ => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "unavailable",
                detail: "the database is away".into(),
            },
        }
    }
}
