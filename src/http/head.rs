//! HEAD: wherever GET is, with the same headers (RFC 9110, 9.3.2).
//!
//! The router takes such a request for a GET, so that no route can forget it. The connection leaves the body out, since it
//! knows the method that came.

use salvo::http::Method;
use salvo::prelude::*;
use salvo::routing::{Filter, PathState};

/// Marks a request that came as HEAD.
#[derive(Clone, Copy)]
struct CameAsHead;

/// Lets every request pass, and turns a HEAD into a GET. It stands before all routes.
#[derive(Debug)]
pub(crate) struct AsGet;

#[async_trait]
impl Filter for AsGet {
    async fn filter(&self, req: &mut Request, _: &mut PathState<'_>) -> bool {
        if req.method() == Method::HEAD {
            *req.method_mut() = Method::GET;
            req.extensions_mut().insert(CameAsHead);
        }
        true
    }

    /// Of this the router asks which methods a path has.
    async fn filter_for_method(&self, _: &mut Request, _: &mut PathState<'_>, _: &Method) -> Option<bool> {
        Some(true)
    }
}

/// Whether the client wants the headers alone.
pub(crate) fn is_head(req: &Request) -> bool {
    req.extensions().get::<CameAsHead>().is_some()
}

/// Whether the request changes nothing.
pub(crate) fn is_read(req: &Request) -> bool {
    req.method() == Method::GET || req.method() == Method::HEAD
}
