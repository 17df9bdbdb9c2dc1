//! Answers requests for unknown paths or methods.

use std::sync::Arc;

use salvo::http::header::{ALLOW, HeaderValue};
use salvo::http::{Method, StatusCode};
use salvo::prelude::*;
use salvo::routing::PathState;

use super::problem::{Problem, ProblemCode};

/// Answers a request for an unknown path or method with a problem. The router gives the methods of the path for the
/// header `Allow`.
pub(crate) struct UnroutedHandler(pub(crate) Arc<Router>);

#[async_trait]
impl Handler for UnroutedHandler {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let (code, detail) = match res.status_code {
            Some(StatusCode::NOT_FOUND) => (ProblemCode::NotFound, "no such path"),
            Some(StatusCode::METHOD_NOT_ALLOWED) => {
                (ProblemCode::MethodNotAllowed, "the path does not support this method")
            }
            _ => return,
        };
        if code == ProblemCode::MethodNotAllowed && !res.headers().contains_key(ALLOW) {
            let allowed = self.allowed(req).await;
            if let Ok(allowed) = HeaderValue::try_from(allowed.join(", ")) {
                res.headers_mut().insert(ALLOW, allowed);
            }
        }
        Problem::new(code, detail).render(res);
        ctrl.skip_rest();
    }
}

impl UnroutedHandler {
    /// Returns the methods of the request's path. The router has no routes for HEAD. Therefore, if the path has GET,
    /// this function adds HEAD.
    async fn allowed(&self, req: &mut Request) -> Vec<&'static str> {
        let (path, came_as) = (req.uri().path().to_owned(), req.method().clone());
        let mut allowed = Vec::new();
        for (method, names) in [
            (Method::GET, &["GET", "HEAD"][..]),
            (Method::POST, &["POST"]),
            (Method::PUT, &["PUT"]),
            (Method::PATCH, &["PATCH"]),
            (Method::DELETE, &["DELETE"]),
        ] {
            *req.method_mut() = method;
            let mut state = PathState::from_borrowed_path(&path);
            if self.0.detect(req, &mut state).await.is_some() {
                allowed.extend(names);
            }
        }
        *req.method_mut() = came_as;
        allowed
    }
}
