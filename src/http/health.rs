//! Serves `/healthz` and `/readyz`.

use std::sync::Arc;

use salvo::http::StatusCode;
use salvo::prelude::*;
use serde_json::json;

use crate::auth::Verifier;
use crate::config::live::LiveConfig;
use crate::lifecycle::Lifecycle;
use crate::realtime::heartbeat::Heartbeat;
use crate::store::Store;

/// `/healthz`: always answers 200, because an answer shows that the process runs.
pub(crate) struct HealthHandler;

#[async_trait]
impl Handler for HealthHandler {
    async fn handle(&self, _: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        res.render(Json(json!({ "healthy": true })));
    }
}

/// The parts whose state decides whether the server is ready.
pub(crate) struct Readiness {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) heartbeat: Arc<Heartbeat>,
    pub(crate) store: Store,
    pub(crate) verifier: Verifier,
}

/// `/readyz`: answers 200 if the server is ready, otherwise 503 with the state of each part. A server is ready only if
/// it has received a heartbeat within `feed.stale_ms`. The heartbeat is a document that the server writes to the
/// database and receives through the change stream. In addition, the server must have the keys that verify tokens, the
/// database must have all indexes, and the server must not be shutting down.
pub(crate) struct ReadyHandler {
    pub(crate) services: Arc<Readiness>,
    /// Whether to include the MongoDB driver's error text, which names the members of the database. True only on the
    /// admin listener.
    pub(crate) with_details: bool,
}

#[async_trait]
impl Handler for ReadyHandler {
    async fn handle(&self, _: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        let Self { services, with_details } = self;
        let age = services.heartbeat.age();
        let keys = services.verifier.missing_keys();
        let indexes = services.store.indexes().problem();
        let fresh = age.is_some_and(|age| age <= services.config.load().feed.stale);
        if !services.lifecycle.is_draining() && fresh && keys.is_none() && indexes.is_none() {
            res.render(Json(json!({ "ready": true })));
            return;
        }
        let database = services.store.ping().await;
        let state = match &database {
            Ok(()) => "ok".to_owned(),
            Err(error) if *with_details => error.to_string(),
            Err(_) => "away".to_owned(),
        };
        let heartbeat = age.map_or_else(
            || "none was received yet".to_owned(),
            |age| format!("the last one was received {} ms ago", age.as_millis()),
        );
        let indexes = match indexes {
            None => "ok".to_owned(),
            Some(fault) if *with_details => fault,
            Some(_) => "missing".to_owned(),
        };
        res.status_code(StatusCode::SERVICE_UNAVAILABLE);
        res.render(Json(json!({
            "ready": false,
            "draining": services.lifecycle.is_draining(),
            "database": state,
            "feed": match &database {
                _ if fresh => "ok",
                // Without the database no heartbeat can be written. Therefore the change stream counts as stalled
                // only if the database answers.
                Ok(()) if !services.lifecycle.is_draining() => "stalled",
                _ => "unknown",
            },
            "heartbeat": heartbeat,
            "keys": keys.unwrap_or("ok"),
            "indexes": indexes,
        })));
    }
}
