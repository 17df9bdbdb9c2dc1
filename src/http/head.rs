//! Serves HEAD for every GET, with the same headers (RFC 9110, 9.3.2).
//!
//! The request becomes a GET before the router sees it, so no route needs code for HEAD. The HTTP connection (hyper)
//! still knows the original method and does not send the body of the answer.

use salvo::http::Method;
use salvo::prelude::*;
use salvo::routing::{Filter, PathState};

/// Marks a GET that was a HEAD when it arrived.
#[derive(Clone, Copy)]
struct WasHead;

/// A filter before all routes: accepts every request, and turns a HEAD into a GET.
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

    /// Always returns true, because the filter accepts every method. The router calls this function to find the methods
    /// of a path.
    async fn filter_for_method(&self, _: &mut Request, _: &mut PathState<'_>, _: &Method) -> Option<bool> {
        Some(true)
    }
}

/// Returns whether the client sent a HEAD, which asks only for the headers.
pub(crate) fn is_head(req: &Request) -> bool {
    req.extensions().get::<WasHead>().is_some()
}

/// Returns whether the request is a GET or HEAD. These methods change nothing on the server.
pub(crate) fn is_read(req: &Request) -> bool {
    req.method() == Method::GET || req.method() == Method::HEAD
}
