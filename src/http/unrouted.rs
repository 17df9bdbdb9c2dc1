//! The answers to requests that no route serves. Short texts replace the error page of salvo.

use salvo::http::StatusCode;
use salvo::prelude::*;

use super::asset::Asset;

/// Returns the text that `/` shows if the messenger is off. The text says how to turn the messenger on, and which path
/// describes the API.
pub(crate) fn start_text(docs: bool) -> Asset {
    let api = if docs { "/docs/" } else { "/openapi.json" };
    let text = format!("Parlor runs. The messenger is off here: PARLOR__PAGE__ENABLED=on. API: {api}\n");
    Asset::new("text/plain; charset=utf-8", text)
}

/// Adds a body to an error answer without a body. The body is the HTTP status in words.
pub(crate) struct BareStatus;

#[async_trait]
impl Handler for BareStatus {
    async fn handle(&self, _: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        let status = res.status_code.unwrap_or(StatusCode::NOT_FOUND);
        let is_error = status.is_client_error() || status.is_server_error();
        if is_error && (res.body.is_none() || res.body.is_error()) {
            res.render(status.canonical_reason().unwrap_or("error"));
        }
    }
}
