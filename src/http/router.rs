//! The whole HTTP surface on one page.

use std::sync::Arc;

use salvo::catcher::Catcher;
use salvo::prelude::*;

use super::asset::Asset;
use super::head::AsGet;
use super::health::{Healthy, Readiness, Ready};
use super::metrics_page::{Measured, MetricsPage};
use super::strict_request::Strict;
use super::unread_body::Unread;
use super::upgrade::{Chat, UpgradeServices};
use super::{api, demo, security_headers};
use crate::protocol::close;
use crate::ws::handshake::HandshakePath;

/// What the routes of one server need.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) upgrade: Arc<UpgradeServices>,
    pub(crate) api: Arc<api::Services>,
    pub(crate) demo: Arc<demo::Services>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics_page: Arc<MetricsPage>,
    pub(crate) unread: Unread,
}

impl Routes {
    /// Returns the service of the clients' listener.
    pub(crate) fn clients(&self) -> Service {
        let tls = self.upgrade.config.load().tls.files.is_some();
        self.served(self.router(), tls)
    }

    /// Returns the service of the admin listener.
    pub(crate) fn admin(&self) -> Service {
        let router = Router::with_filter(AsGet)
            .push(Router::with_path("metrics").get(Measured(self.metrics_page.clone())))
            .push(Router::with_path("healthz").get(Healthy))
            .push(Router::with_path("readyz").get(self.readiness(true)));
        self.served(router, false)
    }

    /// Adds what every answer has, and the answer for paths without a route.
    fn served(&self, router: Router, tls: bool) -> Service {
        let router = Arc::new(router);
        let unrouted = Catcher::default().hoop(api::Unrouted(router.clone()));
        let service = Service::new(router).catcher(unrouted);
        service.hoop(security_headers::Headers { tls }).hoop(self.unread.clone()).hoop(Strict)
    }

    fn router(&self) -> Router {
        let json = |text: String| Asset::new("application/json", text);
        let contract = self.metrics_page.runtime.contract(close::CODES);
        let mut router = Router::with_filter(AsGet)
            .push(Router::with_path("ws/chat").goal(self.chat(HandshakePath::Room)))
            .push(Router::with_path("ws").goal(self.chat(HandshakePath::All)))
            .push(Router::with_path("asyncapi.json").get(json(contract)))
            .push(api::routes(&self.api))
            .push(Router::with_path("openapi.json").get(json(api::description())))
            .push(api::docs(&self.api))
            .push(Router::with_path("healthz").get(Healthy))
            .push(Router::with_path("readyz").get(self.readiness(false)));
        if self.demo.page.on {
            router = router.push(demo::routes(&self.demo));
        }
        router
    }

    fn chat(&self, path: HandshakePath) -> Chat {
        Chat { services: self.upgrade.clone(), path }
    }

    fn readiness(&self, in_full: bool) -> Ready {
        Ready { services: self.readiness.clone(), in_full }
    }
}
