//! Serves HEAD for every GET, with the same headers (RFC 9110, 9.3.2).
//!
//! The router sees such a request as a GET, so that no route can forget it. The connection leaves out the body, because
//! it knows the original method.

use salvo::http::Method;
use salvo::prelude::*;
use salvo::routing::{Filter, PathState};

/// Marks a request that came as HEAD.
#[derive(Clone, Copy)]
struct WasHead;

/// Accepts every request, and turns a HEAD into a GET. Placed before all routes.
#[derive(Debug)]
pub(crate) struct HeadAsGet;

#[async_trait]
impl Filter for HeadAsGet {
    async fn filter(&self, req: &mut Request, _: &mut PathState<'_>) -> bool {
        if req.method() == Method::HEAD {
            *req.method_mut() = Method::GET;
            req.extensions_mut().insert(WasHead);
        }
        true
    }

    /// The router calls this to find the methods of a path.
    async fn filter_for_method(&self, _: &mut Request, _: &mut PathState<'_>, _: &Method) -> Option<bool> {
        Some(true)
    }
}

/// Returns whether the client only wants the headers.
pub(crate) fn is_head(req: &Request) -> bool {
    req.extensions().get::<WasHead>().is_some()
}

/// Returns whether the request changes nothing.
pub(crate) fn is_read(req: &Request) -> bool {
    req.method() == Method::GET || req.method() == Method::HEAD
}
