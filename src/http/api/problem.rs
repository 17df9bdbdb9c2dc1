//! The errors of the API: problem details (RFC 9457), with a stable code for programs.
//!
//! The answer to the client never contains the cause. The cause is logged once, when the problem is created.

use std::borrow::Cow;

use handlers::UserId;
use salvo::http::StatusCode;
use salvo::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use salvo::prelude::*;
use salvo_oapi::{Components, Content, EndpointOutRegister, Operation, RefOr, ToSchema};
use serde::Serialize;

use crate::store::StoreError;

/// A stable code. If an action on a socket fails for one of these reasons, its error has the same code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[salvo(schema(name = ProblemCode))]
pub(crate) enum ProblemCode {
    /// The body is not JSON, or not an object.
    BadJson,
    /// A field or parameter is missing, of the wrong type, or out of range; `detail` names the field or parameter.
    InvalidRequest,
    /// The request has no service key, or an unknown service key.
    Unauthorized,
    /// There is no such room, member, message, event or path.
    NotFound,
    /// The path exists, but not for this method.
    MethodNotAllowed,
    /// The sender of the message is not a member of the room.
    NotMember,
    /// The `Idempotency-Key` belongs to another request.
    KeyReused,
    /// A request with the same `Idempotency-Key` is running: try again in a second. If the server that ran the request
    /// crashed, the key stays reserved for `limits.handler_ms` plus three times `mongodb.operation_ms`, counted from
    /// the start of the request.
    UnderWay,
    /// The limit of concurrent exports or open sockets is reached: try again later.
    Busy,
    /// The database did not answer in time: it may or may not have stored the change.
    Timeout,
    /// The user is being erased: try again when `GET /users/{user}` says that the erasure has ended.
    Conflict,
    /// The members of a direct room can't be changed.
    DirectRoom,
    /// The room already has the highest number of members.
    TooManyMembers,
    /// The body is too large.
    TooLarge,
    /// The body did not arrive in time.
    RequestTimeout,
    /// The body is compressed, or has another content encoding.
    UnsupportedMediaType,
    /// The receiver of a hook did not accept an event.
    ReceiverFailed,
    /// An error of the server; its log has the cause.
    Internal,
    /// The database is unavailable: try again later.
    Unavailable,
}

impl ProblemCode {
    const fn status(self) -> StatusCode {
        match self {
            Self::BadJson | Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotMember => StatusCode::FORBIDDEN,
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::UnderWay | Self::Conflict | Self::DirectRoom | Self::TooManyMembers => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::ReceiverFailed => StatusCode::BAD_GATEWAY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the text that the OpenAPI document has for the code.
    const fn means(self) -> &'static str {
        match self {
            Self::BadJson => "`bad_json`: the body is not JSON, or not an object",
            Self::InvalidRequest => {
                "`invalid_request`: a field or parameter is missing, of the wrong type, or out of range"
            }
            Self::Unauthorized => "`unauthorized`: no service key, or an unknown one",
            Self::NotFound => "`not_found`: there is no such room, member, message, event or path",
            Self::MethodNotAllowed => "`method_not_allowed`",
            Self::NotMember => "`not_member`: the sender is not a member of the room",
            Self::KeyReused => "`key_reused`: the Idempotency-Key belongs to another request",
            Self::UnderWay => {
                "`under_way`: a request with the same Idempotency-Key is under way; try again in a second. If its server \
                 died, that lasts until `limits.handler_ms` and three times `mongodb.operation_ms` after it began"
            }
            Self::Busy => "`busy`: the concurrency limit is reached; retry later",
            Self::Timeout => {
                "`timeout`: the database did not answer in time; the write may have happened or not"
            }
            Self::Conflict => "`conflict`: the user is being erased; try again when that has ended",
            Self::DirectRoom => "`direct_room`: the members of a direct room can't be changed",
            Self::TooManyMembers => "`too_many_members`: the room already has the highest number of members",
            Self::TooLarge => "`too_large`: the body is too large",
            Self::RequestTimeout => "`request_timeout`: the body did not arrive in time",
            Self::UnsupportedMediaType => {
                "`unsupported_media_type`: the body is compressed, or has another encoding"
            }
            Self::ReceiverFailed => "`receiver_failed`: the receiver of the hook did not accept the event",
            Self::Internal => "`internal`: an error of the server; its log has the cause",
            Self::Unavailable => "`unavailable`: the database is unavailable; try again later",
        }
    }
}

/// An error answer.
#[derive(Debug)]
pub(crate) struct Problem {
    code: ProblemCode,
    detail: Cow<'static, str>,
}

/// The body of an error answer.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = Problem))]
pub(super) struct ProblemDetails {
    /// The HTTP status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// The stable code, for programs.
    code: ProblemCode,
    /// The explanation, for people. It may change.
    detail: Cow<'static, str>,
}

impl Problem {
    pub(crate) fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// Creates the problem of an invalid field or parameter.
    pub(crate) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemCode::InvalidRequest, detail)
    }

    /// Creates the problem of a request about a user who is being erased.
    pub(super) fn erasing(user: &UserId) -> Self {
        let detail =
            format!("user {user} is being erased; try again when GET /users/{{user}} says that it has ended");
        Self::new(ProblemCode::Conflict, detail)
    }

    pub(super) fn no_room() -> Self {
        Self::new(ProblemCode::NotFound, "no such room")
    }

    /// Creates the problem of an error of this server. The cause goes only to the log.
    pub(super) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "an API request failed");
        Self::new(ProblemCode::Internal, "internal error")
    }

    pub(crate) fn render(self, res: &mut Response) {
        let status = self.code.status();
        let title = status.canonical_reason().unwrap_or_default();
        res.status_code(status);
        if status == StatusCode::UNAUTHORIZED {
            res.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            res.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let details = ProblemDetails { title, status: status.as_u16(), code: self.code, detail: self.detail };
        res.render(Json(details));
        res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    }
}

#[async_trait]
impl Writer for Problem {
    async fn write(self, _: &mut Request, _: &mut Depot, res: &mut Response) {
        self.render(res);
    }
}

/// Documents the problems that every endpoint may answer. The types of an endpoint's arguments document further
/// problems.
impl EndpointOutRegister for Problem {
    fn register(components: &mut Components, operation: &mut Operation) {
        may_fail(
            components,
            operation,
            &[ProblemCode::Unauthorized, ProblemCode::Internal, ProblemCode::Unavailable],
        );
    }
}

/// Adds problems to the documentation of an endpoint.
pub(super) fn may_fail(components: &mut Components, operation: &mut Operation, codes: &[ProblemCode]) {
    for code in codes {
        let status = code.status();
        let description = match operation.responses.get(status.as_str()) {
            Some(RefOr::Type(response)) if response.description.contains(code.means()) => continue,
            Some(RefOr::Type(response)) => format!("{}; {}", response.description, code.means()),
            _ => code.means().to_owned(),
        };
        let schema = ProblemDetails::to_schema(components);
        let response = salvo_oapi::Response::new(description)
            .add_content("application/problem+json", Content::new(schema));
        operation.responses.insert(status.as_str(), response);
    }
}

impl From<handlers::Error> for Problem {
    fn from(error: handlers::Error) -> Self {
        let code = match error.code() {
            handlers::Code::InvalidRequest => ProblemCode::InvalidRequest,
            handlers::Code::NotFound => ProblemCode::NotFound,
            handlers::Code::Timeout => ProblemCode::Timeout,
            handlers::Code::Unavailable => ProblemCode::Unavailable,
            _ => return Self::internal(error),
        };
        if matches!(code, ProblemCode::Timeout | ProblemCode::Unavailable) {
            tracing::error!(%error, "an API request failed");
        }
        Self::new(code, error.message().to_owned())
    }
}

impl Problem {
    /// Creates the problem of a failed write to the database. If the database did not answer, the code is `timeout`,
    /// because the write may have succeeded.
    pub(super) fn of_write(error: StoreError) -> Self {
        match error {
            StoreError::Erasing(user) => Self::erasing(&user),
            error => error.of_write().into(),
        }
    }
}

/// Creates the problem of a failed read from the database.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            error @ StoreError::Fault(_) => Self::internal(error),
            StoreError::Erasing(user) => Self::erasing(&user),
            error => {
                tracing::error!(%error, "an API request failed");
                Self::new(ProblemCode::Unavailable, "the database is unavailable")
            }
        }
    }
}
