//! Parses JSON bodies within limits. If the API expects a JSON object, an array is refused. serde alone would accept an
//! array of the object's values instead of the object.

use std::cell::RefCell;
use std::fmt;

use salvo::extract::{Extractible, Metadata};
use salvo::prelude::*;
use salvo_oapi::{Components, Content, EndpointArgRegister, Operation, RequestBody, Required, ToSchema};
use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::{Map, Value};
use tokio_tungstenite::tungstenite::Bytes;

use super::ApiServices;
use super::problem::{Problem, ProblemCode, may_fail};
use super::strict_json::{StrictJson, TWICE};
use crate::http::body::{self, BodyError};

/// The longest error text about an invalid body, in characters.
const FAULT_CHARS: usize = 250;

/// A body that was parsed as a `T`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T> fmt::Debug for JsonBody<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("JsonBody(..)")
    }
}

impl<'ex, T: DeserializeOwned> Extractible<'ex> for JsonBody<T> {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, depot: &'ex mut Depot) -> Result<Self, Problem> {
        let services = crate::http::api::SharedServices::extract(req, depot).await?;
        Self::read(&bytes(req, &services).await?)
    }
}

/// Reads a whole body: at most `api.body_bytes` bytes, within `http.request_ms`.
pub(super) async fn bytes(req: &mut Request, services: &ApiServices) -> Result<Bytes, Problem> {
    let config = services.config.load_full();
    let (most, timeout) = (config.api.body_bytes, config.http.request);
    let read = body::read(req, most, timeout).await;
    read.map_err(|fault| match fault {
        BodyError::TooLarge => {
            services.metrics.bound_hit("api_body_bytes");
            Problem::new(ProblemCode::TooLarge, format!("the body is over {most} bytes"))
        }
        BodyError::Late => {
            services.metrics.bound_hit("request_ms");
            let detail = format!("the body did not come within {} ms", timeout.as_millis());
            Problem::new(ProblemCode::RequestTimeout, detail)
        }
        BodyError::Encoded => {
            Problem::new(ProblemCode::UnsupportedMediaType, "Content-Encoding: a body must not be compressed")
        }
        BodyError::Broken => Problem::new(ProblemCode::BadJson, "the body can't be read"),
    })
}

impl<T: DeserializeOwned> JsonBody<T> {
    /// Parses a JSON object. Refuses an array, because serde's derived code would accept an array of the object's
    /// values.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let unreadable = |fault: String| {
            Problem::new(ProblemCode::BadJson, format!("the body is no JSON object: {fault}"))
        };
        let StrictJson(value) = serde_json::from_slice(bytes).map_err(|error| {
            let fault = short(&error);
            if fault.starts_with(TWICE) { Problem::invalid(fault) } else { unreadable(fault) }
        })?;
        let Value::Object(fields) = value else {
            return Err(unreadable("it is something else".to_owned()));
        };
        decode(fields).map(Self).map_err(|error| Problem::invalid(short(&error)))
    }
}

/// Decodes an object. Adds the name of the field to an error about a field's value, because serde's error does not name
/// the field.
fn decode<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, serde_json::Error> {
    let current = RefCell::new(String::new());
    let fields = fields.into_iter().inspect(|(name, _)| current.borrow_mut().clone_from(name));
    T::deserialize(MapDeserializer::<_, serde_json::Error>::new(fields)).map_err(|error| {
        let fault = error.to_string();
        let in_list = fault.starts_with('[');
        if fault.contains("field `") && !in_list {
            return error;
        }
        let separator = if in_list { "" } else { ": " };
        serde_json::Error::custom(format_args!("{}{separator}{fault}", current.take()))
    })
}

/// Returns the parser's error, shortened to [`FAULT_CHARS`]. The error repeats the invalid value from the body, and
/// this value may have any length.
fn short(error: &serde_json::Error) -> String {
    error.to_string().chars().take(FAULT_CHARS).collect()
}

/// A type of a request's body that has an example for the OpenAPI document.
pub(super) trait Example {
    /// Returns the example that the OpenAPI document shows.
    fn example() -> Value;
}

impl<T: ToSchema + Example> EndpointArgRegister for JsonBody<T> {
    fn register(components: &mut Components, operation: &mut Operation, _: &str) {
        let content = Content::new(T::to_schema(components)).example(T::example());
        let body = RequestBody::new().required(Required::True).add_content("application/json", content);
        operation.request_body = Some(body);
        let codes = [
            ProblemCode::BadJson,
            ProblemCode::InvalidRequest,
            ProblemCode::TooLarge,
            ProblemCode::RequestTimeout,
        ];
        may_fail(components, operation, &codes);
        may_fail(components, operation, &[ProblemCode::UnsupportedMediaType]);
    }
}

/// Decodes a list of objects. Refuses an item that is an array of values instead of an object.
pub(super) fn objects<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    let items = Vec::<Value>::deserialize(deserializer)?;
    let object = |(at, item)| match item {
        Value::Object(fields) => {
            decode(fields).map_err(|error| D::Error::custom(format_args!("[{at}]: {error}")))
        }
        _ => Err(D::Error::custom(format_args!("[{at}]: must be an object"))),
    };
    items.into_iter().enumerate().map(object).collect()
}
