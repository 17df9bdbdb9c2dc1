//! The REST API, for an application's backend: rooms and who is in them, what is said there, and users.
//!
//! One file per resource, each endpoint described where it stands; from that comes `/openapi.json`, whose text is
//! also `config/openapi.json`. Who has no service key gets nowhere ([`keys`]); what goes wrong is told as a
//! [`Problem`].

mod answer;
mod body;
mod docs;
mod events;
mod export;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod keys;
mod lines;
mod listing;
mod members;
mod messages;
mod once;
mod params;
mod problem;
mod rooms;
mod schema;
mod set_aside;
mod strict;
mod tidy;
mod users;
mod view;
mod window;

use std::sync::Arc;

use salvo::extract::{Extractible, Metadata};
use salvo::prelude::*;
use salvo_oapi::{Components, EndpointArgRegister, Operation};

pub(crate) use docs::{description, routes as docs};
pub(crate) use problem::{Code, Problem, Unrouted};
pub use rooms::{MAX_MEMBERS, check_members};

use crate::server::Server;

/// Everything under `/api/v1`, behind the keys.
pub(crate) fn routes(server: &Arc<Server>) -> Router {
    resources().hoop(keys::Keys(server.clone())).hoop(once::Once(server.clone()))
}

/// The resources alone: what is described.
fn resources() -> Router {
    Router::with_path("api/v1").push(rooms::routes()).push(users::routes()).push(set_aside::routes())
}

/// What the endpoints of this server share; an argument of theirs.
struct Shared(Arc<Server>);

impl std::ops::Deref for Shared {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl<'ex> Extractible<'ex> for Shared {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(_: &'ex mut Request, depot: &'ex mut Depot) -> Result<Self, Problem> {
        let server =
            depot.get_typed::<Arc<Server>>().map_err(|_| Problem::internal("no server in the depot"))?;
        Ok(Self(server.clone()))
    }
}

/// No part of the request.
impl EndpointArgRegister for Shared {
    fn register(_: &mut Components, _: &mut Operation, _: &str) {}
}
