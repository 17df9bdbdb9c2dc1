//! All HTTP routes of the server.

use std::sync::Arc;

use salvo::catcher::Catcher;
use salvo::prelude::*;

use super::asset::Asset;
use super::head::HeadAsGet;
use super::health::{HealthHandler, Readiness, ReadyHandler};
use super::metrics_page::{MetricsHandler, MetricsPage};
use super::strict_request::RequestCheck;
use super::unread_body::UnreadBody;
use super::unrouted::{BareStatus, start_text};
use super::upgrade::{UpgradeHandler, UpgradeServices};
use super::{api, demo, security_headers};
use crate::protocol::close;
use crate::ws::handshake::HandshakePath;

/// The parts of a server that its routes use.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) upgrade: Arc<UpgradeServices>,
    pub(crate) api: Arc<api::ApiServices>,
    pub(crate) demo: Arc<demo::DemoServices>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics_page: Arc<MetricsPage>,
    pub(crate) unread: UnreadBody,
}

impl Routes {
    /// Returns the salvo service for the listener of the clients.
    pub(crate) fn clients(&self) -> Service {
        let tls = self.upgrade.config.load().tls.files.is_some();
        self.served(self.router(), tls)
    }

    /// Returns the salvo service for the admin listener.
    pub(crate) fn admin(&self) -> Service {
        let router = Router::with_filter(HeadAsGet)
            .push(Router::with_path("metrics").get(MetricsHandler(self.metrics_page.clone())))
            .push(Router::with_path("healthz").get(HealthHandler))
            .push(Router::with_path("readyz").get(self.readiness(true)));
        self.served(router, false)
    }

    /// Adds the handlers that run for every request, and the handler that answers requests without a route.
    fn served(&self, router: Router, tls: bool) -> Service {
        let router = Arc::new(router);
        let unrouted = Catcher::new(BareStatus).hoop(api::UnroutedHandler(router.clone()));
        let service = Service::new(router).catcher(unrouted);
        service.hoop(security_headers::SecurityHeaders { tls }).hoop(self.unread.clone()).hoop(RequestCheck)
    }

    fn router(&self) -> Router {
        let json = |text: String| Asset::new("application/json", text);
        let contract = self.metrics_page.runtime.contract(close::CODES);
        let router = Router::with_filter(HeadAsGet)
            .push(Router::with_path("ws/chat").goal(self.chat(HandshakePath::Room)))
            .push(Router::with_path("ws").goal(self.chat(HandshakePath::All)))
            .push(Router::with_path("asyncapi.json").get(json(contract)))
            .push(api::routes(&self.api))
            .push(Router::with_path("openapi.json").get(json(api::description())))
            .push(api::docs(&self.api))
            .push(Router::with_path("healthz").get(HealthHandler))
            .push(Router::with_path("readyz").get(self.readiness(false)));
        let start = if self.demo.page.on {
            demo::routes(&self.demo)
        } else {
            Router::new().get(start_text(self.api.config.load().api.docs))
        };
        router.push(start)
    }

    fn chat(&self, path: HandshakePath) -> UpgradeHandler {
        UpgradeHandler { services: self.upgrade.clone(), path }
    }

    fn readiness(&self, with_details: bool) -> ReadyHandler {
        ReadyHandler { services: self.readiness.clone(), with_details }
    }
}
