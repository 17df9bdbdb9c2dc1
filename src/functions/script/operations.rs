//! Translates the host calls of a script from and to JSON. `quickjs/prelude.js` makes and reads this JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use handlers::{HistoryCursor, MessageId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::functions::host_call::{
    FetchRequest, FetchResponse, Host, HostCall, HostValue, StateOperation, StateScope, StateWrite,
};
use crate::functions::host_error::{HostCode, HostError};

/// The page size of `room.history` without `limit`.
const HISTORY: u32 = 50;

#[derive(Deserialize)]
struct HistoryArgs {
    before: Option<MessageId>,
    after: Option<i64>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
struct MessageArgs {
    id: MessageId,
}

#[derive(Deserialize)]
struct StateArgs {
    scope: StateScope,
    #[serde(default)]
    key: String,
    value: Option<Box<RawValue>>,
    version: Option<u64>,
    amount: Option<i64>,
    ttl: Option<u32>,
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
struct FetchArgs {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    text: Option<String>,
    body: Option<String>,
    timeout_ms: Option<u32>,
}

/// Does a host call of a script. Returns the JSON of its result, or of its error.
pub(super) async fn run(host: &dyn Host, name: &str, json: &str) -> Result<Vec<u8>, Vec<u8>> {
    let answer = match parse(name, json) {
        Ok(call) => host.run(call).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(value) => Ok(to_json(value).into_bytes()),
        Err(HostError { code, message }) => {
            Err(json!({ "code": code.name(), "message": message }).to_string().into_bytes())
        }
    }
}

fn invalid(message: impl Into<String>) -> HostError {
    HostError::new(HostCode::InvalidRequest, message)
}

fn args<T: DeserializeOwned>(name: &str, json: &str) -> Result<T, HostError> {
    serde_json::from_str(json).map_err(|error| invalid(format!("{name}: {error}")))
}

fn parse(name: &str, json: &str) -> Result<HostCall, HostError> {
    match name {
        "history" => {
            let HistoryArgs { before, after, limit } = args("room.history", json)?;
            let from = match (before, after) {
                (None, None) => HistoryCursor::Newest,
                (Some(before), None) => HistoryCursor::Before(before),
                (None, Some(after)) if after >= 0 => HistoryCursor::After(after),
                (None, Some(_)) => return Err(invalid("room.history: after is 0 or more")),
                (Some(_), Some(_)) => return Err(invalid("room.history: takes before or after, not both")),
            };
            Ok(HostCall::History { from, limit: limit.unwrap_or(HISTORY) })
        }
        "message" => Ok(HostCall::Message(args::<MessageArgs>("room.message", json)?.id)),
        "about" => Ok(HostCall::About),
        "fetch" => fetch(args("fetch", json)?),
        _ => match name.strip_prefix("state.") {
            Some(operation) => state(operation, args(name, json)?),
            None => Err(invalid(format!("no host call {name:?}"))),
        },
    }
}

fn state(operation: &str, args: StateArgs) -> Result<HostCall, HostError> {
    let missing = |what: &str| invalid(format!("state: {what} is missing"));
    let StateArgs { scope, key, value, version, amount, ttl, prefix, after, limit } = args;
    let write = || -> Result<StateWrite, HostError> {
        // A value of `null` arrives as none.
        let value = value.map_or_else(|| "null".to_owned(), |value| value.get().to_owned());
        Ok(StateWrite { value, ttl_seconds: ttl })
    };
    let operation = match operation {
        "get" => StateOperation::Get { key },
        "set" => StateOperation::Set { key, write: write()? },
        "swap" => {
            StateOperation::Swap { key, version: version.ok_or_else(|| missing("version"))?, write: write()? }
        }
        "add" => {
            let amount = amount.ok_or_else(|| missing("amount"))?;
            StateOperation::Add { key, amount, ttl_seconds: ttl }
        }
        "delete" => StateOperation::Delete { key },
        "keys" => StateOperation::Keys { prefix, after, limit: limit.ok_or_else(|| missing("limit"))? },
        _ => return Err(invalid(format!("no host call state.{operation}"))),
    };
    Ok(HostCall::State(scope, operation))
}

fn fetch(args: FetchArgs) -> Result<HostCall, HostError> {
    let FetchArgs { method, url, headers, text, body, timeout_ms } = args;
    let body = match (text, body) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(body)) => STANDARD.decode(body).map_err(|_| invalid("fetch: the body is not base64"))?,
        (None, None) => Vec::new(),
    };
    Ok(HostCall::Fetch(FetchRequest { method, url, headers, body, timeout_ms }))
}

fn to_json(value: HostValue) -> String {
    match value {
        HostValue::Json(json) => json,
        HostValue::Entry(None) | HostValue::Swapped(None) => "null".to_owned(),
        HostValue::Entry(Some(entry)) => {
            format!("{{\"value\":{},\"version\":{}}}", entry.value, entry.version)
        }
        HostValue::Version(version) | HostValue::Swapped(Some(version)) => version.to_string(),
        HostValue::Number(number) => number.to_string(),
        HostValue::Deleted(deleted) => deleted.to_string(),
        HostValue::Keys(keys) => Value::from(keys).to_string(),
        HostValue::Response(FetchResponse { status, headers, body }) => {
            let mut answer = json!({ "status": status, "headers": headers });
            match String::from_utf8(body) {
                Ok(text) => answer["text"] = text.into(),
                Err(bytes) => answer["body"] = STANDARD.encode(bytes.as_bytes()).into(),
            }
            answer.to_string()
        }
    }
}
