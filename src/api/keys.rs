//! Service keys: whoever has one may do everything here. There may be several, so that they can be rotated.

use std::sync::Arc;

use salvo::http::header::AUTHORIZATION;
use salvo::prelude::*;

use super::problem::{Code, Problem};
use crate::config::Secret;
use crate::server::Server;

/// Lets through whoever has a key, with the server for the endpoints.
pub(super) struct Keys(pub(super) Arc<Server>);

#[async_trait]
impl Handler for Keys {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        if authorized(req, &self.0.config.load().api.keys) {
            depot.insert_typed(self.0.clone());
            return;
        }
        Problem::new(Code::Unauthorized, "a service key is needed: Authorization: Bearer <key>").render(res);
        ctrl.skip_rest();
    }
}

/// Whether there is a key, in whatever case the scheme is written.
fn authorized(req: &Request, keys: &[Secret]) -> bool {
    let header = req.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, given) = header.and_then(|header| header.split_once(' ')).unwrap_or_default();
    let known = keys.iter().filter(|key| same(key.expose().as_bytes(), given.trim().as_bytes())).count() > 0;
    known && scheme.eq_ignore_ascii_case("bearer")
}

/// Takes as long wherever the two differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
