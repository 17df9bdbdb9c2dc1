//! The API's description, which is served at `/openapi.json`, and the page `/docs/` that shows the description and
//! can send requests.
//!
//! The page is Swagger UI. The crate `salvo_oapi` contains a copy of Swagger UI's files, which become part of the
//! binary. The page's content security policy forbids loading anything from other servers.
//!
//! The page `/docs/socket` shows `/asyncapi.json`, the description of the WebSocket protocol. This page is Parlor's
//! own code. It does not use the usual `AsyncAPI` component for web pages, because this component has 2.9 MB. The
//! component also compiles schemas to JavaScript functions, which the content security policy forbids.

use std::borrow::Cow;
use std::sync::Arc;

use salvo::http::StatusCode;
use salvo::http::header::{HeaderValue, LOCATION};
use salvo::prelude::*;
use salvo_oapi::security::{Http, HttpAuthScheme};
use salvo_oapi::swagger_ui::{self, SwaggerFile};
use salvo_oapi::{Info, OpenApi, SecurityRequirement, SecurityScheme};
use tokio_tungstenite::tungstenite::Bytes;

use super::ApiServices;
use super::tidy::tidy;
use crate::http::asset::Asset;

/// The content security policy of the pages. A page may load scripts and styles only from this server, and may send
/// requests only to this server. Swagger UI also needs inline styles, and icons as `data:` URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// Returns the routes of the pages. If `api.docs` is off, there are no routes.
pub(crate) fn routes(services: &Arc<ApiServices>) -> Router {
    if !services.config.load().api.docs {
        return Router::new();
    }
    Router::with_path("docs")
        .get(DocsPage(file(HTML, include_str!("docs/index.html"))))
        .push(Router::with_path("try.js").get(file(JAVASCRIPT, include_str!("docs/try.js"))))
        .push(Router::with_path("socket").get(SocketDocsPage(file(HTML, include_str!("docs/socket.html")))))
        .push(Router::with_path("socket.js").get(file(JAVASCRIPT, include_str!("docs/socket.js"))))
        .push(Router::with_path("socket.css").get(file(CSS, include_str!("docs/socket.css"))))
        .push(swagger(CSS, "swagger-ui.css"))
        .push(swagger(JAVASCRIPT, "swagger-ui-bundle.js"))
}

/// Returns the OpenAPI document. The server serves this text, and `config/openapi.json` is a copy of it.
pub(crate) fn description() -> String {
    let info = Info::new("Parlor", env!("CARGO_PKG_VERSION")).description(
        "Rooms, their members, messages and users, for the backend of an application. Errors are problem details (RFC 9457) with \
         a stable `code`. Fields and parameters that are not known are ignored; one that is given twice is refused, as is a number \
         out of its range. Strings are bounded in characters or in bytes of UTF-8, as their descriptions say: `maxLength` counts \
         characters.",
    );
    let key = Http::new(HttpAuthScheme::Bearer).description("A service key, one of `api.keys`.");
    let mut document = OpenApi::with_info(info)
        .add_security_scheme("key", SecurityScheme::Http(key))
        .security([SecurityRequirement::new("key", Vec::<String>::new())])
        .merge_router(&super::resources());
    crate::http::api::idempotency::describe(&mut document);
    // JSON encoding fails only for a map whose keys are not strings. The document has no such map.
    let document = serde_json::to_value(document).map(tidy).unwrap_or_default();
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

/// Serves `/docs/`. The page loads its other files relative to `/docs/`, so a request for `/docs` is redirected to
/// `/docs/`.
struct DocsPage(Asset);

#[async_trait]
impl Handler for DocsPage {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        if req.uri().path().ends_with('/') {
            return self.0.handle(req, depot, res, ctrl).await;
        }
        res.status_code(StatusCode::PERMANENT_REDIRECT);
        res.headers_mut().insert(LOCATION, HeaderValue::from_static("docs/"));
    }
}

/// Serves `/docs/socket`. A page at `/docs/socket/` would load its other files from below `/docs/socket/`, where they
/// don't exist. Therefore a request for `/docs/socket/` is redirected to `/docs/socket`.
struct SocketDocsPage(Asset);

#[async_trait]
impl Handler for SocketDocsPage {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        if !req.uri().path().ends_with('/') {
            return self.0.handle(req, depot, res, ctrl).await;
        }
        res.status_code(StatusCode::PERMANENT_REDIRECT);
        res.headers_mut().insert(LOCATION, HeaderValue::from_static("../socket"));
    }
}

fn file(kind: &'static str, contents: impl Into<Bytes>) -> Asset {
    Asset::new(kind, contents).policy(POLICY)
}

/// Returns the route of a file of Swagger UI. If the copy in `salvo_oapi` lacks the file, the router has no handler.
fn swagger(kind: &'static str, name: &'static str) -> Router {
    let router = Router::with_path(name);
    match swagger_ui::serve(name, "", "", "", &swagger_ui::Config::default()) {
        // In a release build the bytes are part of the binary, so they need not be copied.
        Ok(Some(SwaggerFile { bytes: Cow::Borrowed(bytes), .. })) => {
            router.get(file(kind, Bytes::from_static(bytes)))
        }
        Ok(Some(SwaggerFile { bytes: Cow::Owned(bytes), .. })) => router.get(file(kind, bytes)),
        _ => router,
    }
}
