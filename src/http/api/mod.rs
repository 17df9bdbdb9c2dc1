//! The REST API for an application's backend: rooms, members, messages and users.
//!
//! Each resource, such as rooms or members, has its own file. The doc comment of each endpoint's function becomes the
//! endpoint's documentation in `/openapi.json`. The repository has a copy of this document, `config/openapi.json`. A
//! client without a service key gets no access ([`service_keys`]). Every error is a [`Problem`].

pub(crate) mod docs;
pub(crate) mod dto;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod functions;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod idempotency;
pub(crate) mod json_body;
pub(crate) mod members;
pub(crate) mod messages;
pub(crate) mod ndjson;
pub(crate) mod page_query;
pub(crate) mod path_params;
pub(crate) mod problem;
pub(crate) mod response;
pub(crate) mod room_bounds;
pub(crate) mod room_list;
pub(crate) mod rooms;
pub(crate) mod schema;
pub(crate) mod service_keys;
pub(crate) mod set_aside;
pub(crate) mod strict_json;
pub(crate) mod tidy;
pub(crate) mod unrouted;
pub(crate) mod users;

use std::sync::Arc;

use arc_swap::ArcSwap;
use salvo::extract::{Extractible, Metadata};
use salvo::prelude::*;
use salvo_oapi::{Components, EndpointArgRegister, Operation};
use tokio::sync::watch;

use crate::config::live::LiveConfig;
use crate::functions::loader::FunctionLoader;
use crate::jobs::room_cleanup::CleanupTrigger;
use crate::jobs::user_erasure::ErasureTrigger;
use crate::lifecycle::Lifecycle;
use crate::limits::permits::Permits;
use crate::realtime::hub::Hub;
use crate::realtime::room_reader::RoomReader;
use crate::realtime::sessions::Sessions;
use crate::store::{Receipts, Store, Writer};
use crate::telemetry::metrics::Metrics;
use crate::webhooks::RunningWebhooks;

pub(crate) use self::docs::{description, routes as docs};
pub(crate) use self::problem::{Problem, ProblemCode};
pub use self::room_bounds::MAX_MEMBERS;
pub use self::rooms::check_members;
pub(crate) use self::unrouted::UnroutedHandler;

/// Returns the routes under `/api/v1`. Each request first passes the check of its service key.
pub(crate) fn routes(services: &Arc<ApiServices>) -> Router {
    resources()
        .hoop(service_keys::ServiceKeyCheck(services.clone()))
        .hoop(idempotency::Idempotent(services.clone()))
}

/// Returns the routes that the OpenAPI document describes.
fn resources() -> Router {
    Router::with_path("api/v1")
        .push(rooms::routes())
        .push(users::routes())
        .push(set_aside::routes())
        .push(functions::routes())
}

/// The parts of the server that the endpoints use.
pub(crate) struct ApiServices {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) store: Store,
    pub(crate) writer: Writer,
    pub(crate) receipts: Receipts,
    pub(crate) hub: Arc<Hub>,
    pub(crate) room_reader: RoomReader,
    pub(crate) outboxes: Sessions,
    /// Each open socket and each event stream holds one of these permits.
    pub(crate) permits: Permits,
    /// Each running export holds one of these permits.
    pub(crate) exports: Permits,
    pub(crate) loader: Arc<FunctionLoader>,
    /// The running webhooks. A reload of the configuration replaces them.
    pub(crate) hooks: Arc<ArcSwap<RunningWebhooks>>,
    pub(crate) cleanup: CleanupTrigger,
    pub(crate) erasure: ErasureTrigger,
    /// Notified after each reload of the configuration.
    pub(crate) reloads: watch::Sender<()>,
}

/// The parts of the server, as an argument of an endpoint.
struct SharedServices(Arc<ApiServices>);

impl std::ops::Deref for SharedServices {
    type Target = ApiServices;

    fn deref(&self) -> &ApiServices {
        &self.0
    }
}

impl<'ex> Extractible<'ex> for SharedServices {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(_: &'ex mut Request, depot: &'ex mut Depot) -> Result<Self, Problem> {
        let services =
            depot.get_typed::<Arc<ApiServices>>().map_err(|_| Problem::internal("no server in the depot"))?;
        Ok(Self(services.clone()))
    }
}

/// Adds nothing to the OpenAPI document: the services are not part of the request.
impl EndpointArgRegister for SharedServices {
    fn register(_: &mut Components, _: &mut Operation, _: &str) {}
}
