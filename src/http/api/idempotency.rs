//! `Idempotency-Key`: if a client repeats a `POST` with the same key, the request runs once. The repeated `POST` gets
//! the answer of the first `POST`.
//!
//! Parlor stores the answer of a successful request. A request that was refused with a 4xx status changed nothing.
//! Therefore the client may use the key of this request for another request. If the server crashed or the database was
//! unavailable, the outcome of the request is unknown. The next request with this key then first searches the database
//! for the effect of the earlier request. A client that disconnects does not abort its request: every `POST` runs in a
//! separate task, and a shutdown waits for this task.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256};
use handlers::UserId;
use salvo::extract::{Extractible, Metadata};
use salvo::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use salvo::http::{HeaderMap, Method, ResBody, StatusCode};
use salvo::prelude::*;
use salvo_oapi::{
    BasicType, Components, EndpointArgRegister, Object, OpenApi, Operation, Parameter, ParameterIn,
    PathItemType,
};
use serde::Deserialize;
use serde_json::Value;

use super::ApiServices;
use super::json_body;
use super::problem::{Problem, ProblemCode, may_fail};
use crate::store::{Claim, RequestAttempt, RequestKey, StoredResponse};

/// The header of the IETF draft "The Idempotency-Key HTTP Header Field".
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest key, in characters.
pub(super) const MAX_KEY_CHARS: usize = 255;

/// While a request runs, its key stays reserved for `limits.handler_ms` plus [`OPERATIONS`] times
/// `mongodb.operation_ms`.
const OPERATIONS: u32 = 3;

/// Runs every `POST` as the module's comment describes. Requests with other methods are not changed.
pub(super) struct Idempotent(pub(super) Arc<ApiServices>);

#[async_trait]
impl Handler for Idempotent {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        if req.method() != Method::POST {
            return;
        }
        let mut whole = BufferedRequest {
            req: std::mem::take(req),
            depot: std::mem::take(depot),
            res: std::mem::take(res),
            ctrl: std::mem::take(ctrl),
        };
        let services = self.0.clone();
        let done = self.0.lifecycle.spawn(async move {
            if let Err(problem) = whole.run(&services).await {
                problem.render(&mut whole.res);
            }
            whole.ctrl.skip_rest();
            whole
        });
        match done.await {
            Ok(whole) => BufferedRequest { req: *req, depot: *depot, res: *res, ctrl: *ctrl } = whole,
            Err(panic) => Problem::internal(panic).render(res),
        }
    }
}

/// A `POST` request that moves into a separate task, with the values that the later handlers need.
struct BufferedRequest {
    req: Request,
    depot: Depot,
    res: Response,
    ctrl: FlowCtrl,
}

impl BufferedRequest {
    async fn run(&mut self, services: &Arc<ApiServices>) -> Result<(), Problem> {
        let Some(key) = key(self.req.headers())? else {
            self.next().await;
            return Ok(());
        };
        let (method, target) = (self.req.method().to_string(), self.req.uri().to_string());
        let body = json_body::bytes(&mut self.req, services).await?;
        let mut content = digest::Context::new(&SHA256);
        for part in [method.as_bytes(), target.as_bytes(), &body] {
            content.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            content.update(part);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(content.finish().as_ref());
        let config = services.config.load_full();
        let lease = config.limits.handler + config.mongodb.operation * OPERATIONS;
        // The key must stay in the database at least until its reservation (`lease`) ends.
        let kept = config.api.idempotency.max(lease);
        match services.store.claim(&key, hash, lease, kept).await? {
            Claim::Do(attempt) => {
                self.depot.insert_typed(attempt.clone());
                self.next().await;
                self.settle(services, &attempt).await;
            }
            Claim::Done(kept) => self.respond(kept),
            Claim::UnderWay => {
                services.metrics.bound_hit("idempotency_under_way");
                self.res.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                return Err(Problem::new(
                    ProblemCode::UnderWay,
                    "a request with this Idempotency-Key is under way",
                ));
            }
            Claim::Different => {
                return Err(Problem::new(
                    ProblemCode::KeyReused,
                    "this Idempotency-Key belongs to another request",
                ));
            }
        }
        Ok(())
    }

    async fn next(&mut self) {
        self.ctrl.call_next(&mut self.req, &mut self.depot, &mut self.res).await;
    }

    /// Stores the answer, or frees the key for the next attempt. If the first request with the key is refused with a
    /// 4xx status, it changed nothing, and the key is deleted. If a later request with the key is refused, an earlier
    /// request with the key may have succeeded. The key is then only released: it stays in the database, and the next
    /// request with the key may run.
    async fn settle(&self, services: &Arc<ApiServices>, attempt: &RequestAttempt) {
        let status = self.res.status_code.unwrap_or(StatusCode::OK);
        let settled = if status.is_success() {
            let body = text(&self.res.body);
            let about = users(&body);
            services
                .store
                .keep_answer(attempt, &StoredResponse { status: status.as_u16(), body }, &about)
                .await
        } else if status.is_client_error() && !attempt.is_another {
            services.store.forget(attempt).await
        } else {
            services.store.release(attempt).await
        };
        if let Err(error) = settled {
            services.metrics.count_fault("idempotency");
            tracing::warn!(%error, "could not store the response for an idempotency key; the key stays reserved");
        }
    }

    fn respond(&mut self, StoredResponse { status, body }: StoredResponse) {
        self.res.status_code(StatusCode::from_u16(status).unwrap_or(StatusCode::OK));
        if body.is_empty() {
            return;
        }
        let kind = HeaderValue::from_static("application/json; charset=utf-8");
        self.res.headers_mut().insert(CONTENT_TYPE, kind);
        // The length of the text is known, so writing it can't fail.
        let _ = self.res.write_body(body);
    }
}

/// Returns the idempotency key, if the request has one. The request must have the header only once, with 1 to
/// [`MAX_KEY_CHARS`] visible characters.
fn key(headers: &HeaderMap) -> Result<Option<RequestKey>, Problem> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).into_iter();
    let Some(key) = given.next() else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| (1..=MAX_KEY_CHARS).contains(&key.len()) && !key.contains(' '));
    let (Some(key), None) = (key, given.next()) else {
        let detail = format!("Idempotency-Key: once, 1 to {MAX_KEY_CHARS} visible characters of ASCII");
        return Err(Problem::invalid(detail));
    };
    // The check of the service key ran before this function. Therefore the header `Authorization` has a valid service
    // key.
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = bearer.split_once(' ').map_or("", |(_, token)| token.trim());
    let mut service = [0; 16];
    service.copy_from_slice(&digest::digest(&SHA256, token.as_bytes()).as_ref()[..16]);
    Ok(Some(RequestKey { service, key: key.to_owned() }))
}

/// Returns the text of an answer. The text of a streamed answer would be empty, but no `POST` has a streamed answer.
fn text(body: &ResBody) -> String {
    match body {
        ResBody::Once(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

/// Returns all users that an answer names. When one of these users is erased, the stored answer is deleted.
fn users(body: &str) -> Vec<UserId> {
    fn collect(value: &Value, users: &mut BTreeSet<UserId>) {
        match value {
            Value::Array(list) => list.iter().for_each(|value| collect(value, users)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    if matches!(name.as_str(), "user_id" | "sender_id") {
                        users.extend(UserId::deserialize(value));
                    }
                    collect(value, users);
                }
            }
            _ => {}
        }
    }
    let mut users = BTreeSet::new();
    collect(&serde_json::from_str(body).unwrap_or_default(), &mut users);
    users.into_iter().collect()
}

/// The current attempt (one execution) of a request with an idempotency key, or `None` if the request has no key.
#[derive(Debug)]
pub(super) struct IdempotentAttempt(pub(super) Option<RequestAttempt>);

impl<'ex> Extractible<'ex> for IdempotentAttempt {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(_: &'ex mut Request, depot: &'ex mut Depot) -> Result<Self, Problem> {
        Ok(Self(depot.get_typed::<RequestAttempt>().ok().cloned()))
    }
}

/// Adds nothing to the description of an endpoint: [`describe`] documents the key for every `POST`.
impl EndpointArgRegister for IdempotentAttempt {
    fn register(_: &mut Components, _: &mut Operation, _: &str) {}
}

/// Adds the header `Idempotency-Key` to the documentation of every `POST`. Adds the problem `timeout` to the
/// documentation of every endpoint that is not a `GET`.
pub(super) fn describe(document: &mut OpenApi) {
    let OpenApi { paths, components, .. } = document;
    for (kind, operation) in paths.values_mut().flat_map(|item| item.operations.iter_mut()) {
        if *kind != PathItemType::Get {
            may_fail(components, operation, &[ProblemCode::Timeout]);
        }
        if *kind != PathItemType::Post {
            continue;
        }
        let schema = Object::with_type(BasicType::String).min_length(1).max_length(MAX_KEY_CHARS);
        let parameter = Parameter::new("Idempotency-Key").location(ParameterIn::Header).required(false);
        let parameter = parameter.description(
            "With this key, the request is executed only once, even if it is sent several times. The same key with the same body gets \
             the same answer again.",
        );
        operation.parameters.insert(parameter.schema(schema).example("welcome-7".into()));
        may_fail(components, operation, &[ProblemCode::UnderWay, ProblemCode::KeyReused]);
    }
}
