//! Checks service keys. A client with a service key may use the whole API. Several keys may be valid at the same
//! time, so that an operator can replace a key without an interruption.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use salvo::extract::{Extractible, Metadata};
use salvo::http::header::AUTHORIZATION;
use salvo::prelude::*;
use salvo_oapi::{Components, EndpointArgRegister, Operation};

use super::ApiServices;
use super::problem::{Problem, ProblemCode};
use crate::config::Secret;

/// Refuses requests without a valid service key. Puts the parts of the server (`ApiServices`) into salvo's depot, the
/// store of one request's values. The endpoints take the parts from the depot.
pub(super) struct ServiceKeyCheck(pub(super) Arc<ApiServices>);

#[async_trait]
impl Handler for ServiceKeyCheck {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        if let Some(key) = authorized(req, &self.0.config.load().api.keys) {
            depot.insert_typed(self.0.clone());
            depot.insert_typed(Access { services: self.0.clone(), key });
            return;
        }
        Problem::new(ProblemCode::Unauthorized, "a service key is needed: Authorization: Bearer <key>")
            .render(res);
        ctrl.skip_rest();
    }
}

/// The service key of a request. An endpoint with a streamed answer takes this argument. The endpoint ends the stream
/// when the key is removed from the configuration.
#[derive(Clone)]
pub(super) struct Access {
    services: Arc<ApiServices>,
    key: Secret,
}

impl Access {
    /// Waits until a reload removes the key from the configuration.
    pub(super) async fn removed(self) {
        let mut reloads = self.services.reloads.subscribe();
        while is_listed(&self.key, &self.services.config.load().api.keys) {
            // `changed` fails only after the sender of `reloads` is dropped. `self.services` owns this sender, so the
            // call can't fail here.
            if reloads.changed().await.is_err() {
                return;
            }
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Access(..)")
    }
}

impl<'ex> Extractible<'ex> for Access {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(_: &'ex mut Request, depot: &'ex mut Depot) -> Result<Self, Problem> {
        depot.get_typed::<Self>().cloned().map_err(|_| Problem::internal("no service key in the depot"))
    }
}

/// Adds nothing to the OpenAPI document, because the document already says that all endpoints need a service key.
impl EndpointArgRegister for Access {
    fn register(_: &mut Components, _: &mut Operation, _: &str) {}
}

/// Returns the request's key, if the configuration lists this key. The word `Bearer` may be in upper or lower case.
fn authorized(req: &Request, keys: &[Secret]) -> Option<Secret> {
    let header = req.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, given) = header.and_then(|header| header.split_once(' ')).unwrap_or_default();
    let given = Secret::new(given.trim());
    (is_listed(&given, keys) && scheme.eq_ignore_ascii_case("bearer")).then_some(given)
}

fn is_listed(given: &Secret, keys: &[Secret]) -> bool {
    let given = given.expose().as_bytes();
    let same = |key: &&Secret| verify_slices_are_equal(key.expose().as_bytes(), given).is_ok();
    // Each comparison with a key of the same length takes the same time, and `count` compares all keys. Therefore the
    // time of a refusal doesn't show how much of a key an attacker has guessed.
    keys.iter().filter(same).count() > 0
}
