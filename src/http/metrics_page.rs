//! Serves `/metrics`.

use std::sync::Arc;

use salvo::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, VARY};
use salvo::prelude::*;

use super::connection_limit::OpenConnections;
use crate::actions::dispatcher::Runtime;
use crate::realtime::heartbeat::Heartbeat;
use crate::store::{Receipts, Store};
use crate::telemetry::logging::DroppedLines;
use crate::telemetry::metrics::format::MetricsFormat;
use crate::telemetry::metrics::{Gauges, Metrics};

/// The sources of the metrics page: `metrics` has the counters. The values of the gauges are read from the other fields
/// at each request.
pub(crate) struct MetricsPage {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) heartbeat: Arc<Heartbeat>,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) receipts: Receipts,
    pub(crate) connections: Arc<OpenConnections>,
    pub(crate) store: Store,
    pub(crate) log_dropped: DroppedLines,
}

impl MetricsPage {
    /// Reads the gauges.
    fn gauges(&self) -> Gauges {
        Gauges {
            heartbeat: self.heartbeat.age(),
            write_queue: self.runtime.messages_waiting(),
            receipts: self.receipts.waiting(),
            connections: self.connections.count(),
            marks: self.store.overlay().kept(),
            log_dropped: self.log_dropped.lines(),
        }
    }
}

/// `/metrics`: answers with the metrics in the format that the client prefers.
pub(crate) struct MetricsHandler(pub(crate) Arc<MetricsPage>);

#[async_trait]
impl Handler for MetricsHandler {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        let format = MetricsFormat::preferred(req.headers());
        let headers = res.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
        headers.insert(VARY, HeaderValue::from_name(ACCEPT));
        // The length of the text is known, so writing it can't fail.
        let _ = res.write_body(self.0.metrics.render(self.0.gauges(), format));
    }
}
