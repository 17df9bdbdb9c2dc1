//! Tells the hooks of one source what happened, while this server holds its lease.

use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use handlers::Time;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::deliver::Delivery;
use super::event::{EventSource, HookKind, WebhookEvent};
use super::patience::Patience;
use super::reader::{self, ClockReading, HookStreamReader, StreamRead};
use super::window::DeliveryWindow;
use crate::config::HookSettings;
use crate::outbound::Receiver;
use crate::store::webhook_leases::Position;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// Of the lease's time, how much passes between two renewals.
const RENEWALS: u32 = 3;

/// Where the events of one hook are told.
#[derive(Clone)]
pub(super) struct HookTarget {
    pub(super) kind: HookKind,
    pub(super) receiver: Arc<Receiver>,
    /// Requests at once. An event that waits to be tried again holds none.
    pub(super) permits: Arc<Semaphore>,
}

/// The hooks of one source, on one server.
#[derive(Clone)]
pub(super) struct Dispatcher {
    pub(super) source: EventSource,
    pub(super) targets: Vec<HookTarget>,
    pub(super) settings: HookSettings,
    /// The lease's holder.
    pub(super) server: ObjectId,
    pub(super) store: Store,
    pub(super) stream_store: Store,
    pub(super) metrics: Arc<Metrics>,
}

/// Why a server stops deliveries.
enum DispatchEnd {
    /// The server goes away.
    Stopped,
    /// Another server has the lease, or may have.
    Lost,
    /// The database, or the stream.
    Failed(StoreError),
}

impl From<StoreError> for DispatchEnd {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Dispatcher {
    /// Gives the source a place, where it has none. An earlier version kept one for each hook: the earlier of these.
    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        let source = self.source.name();
        if self.store.hook_is_known(source).await? {
            return Ok(());
        }
        let kinds: Vec<_> = self.targets.iter().map(|target| target.kind.name()).collect();
        let from = match self.store.earliest_of_hooks(&kinds).await? {
            Some(kept) => kept,
            None => reader::now(&self.stream_store, self.source).await?,
        };
        self.store.begin_hook(source, from).await
    }

    /// Takes the lease whenever it is free, and tells events while it lasts; until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let (hook, lease) = (self.source.name(), self.settings.lease);
        loop {
            // Counted from before the question: the database can't have given it for longer.
            let until = Instant::now() + lease;
            match self.store.take_hook(hook, self.server, lease).await {
                Ok(Some(position)) => {
                    self.holds_lease(true);
                    let ended = self.deliver_events(position, until, &stop).await;
                    self.holds_lease(false);
                    match ended {
                        DispatchEnd::Stopped => return,
                        DispatchEnd::Lost => tracing::warn!(hook, "the lease of a hook was lost"),
                        DispatchEnd::Failed(error) => self.failed("telling a hook stopped", &error),
                    }
                }
                // Another server has it; or the place of the hook was dropped, and it begins where the stream is now.
                Ok(None) => {
                    if let Err(error) = self.begin().await {
                        self.failed("giving a hook a place failed", &error);
                    }
                }
                Err(error) => self.failed("asking for the lease of a hook failed", &error),
            }
            if stop.run_until_cancelled(tokio::time::sleep(lease / RENEWALS)).await.is_none() {
                return;
            }
        }
    }

    fn holds_lease(&self, held: bool) {
        for target in &self.targets {
            self.metrics.hook_lease(target.kind.name(), held);
        }
    }

    fn failed(&self, what: &str, error: &StoreError) {
        self.metrics.fault("hooks");
        tracing::warn!(hook = self.source.name(), %error, "{what}; trying again");
    }

    /// Tells events from a position on.
    async fn deliver_events(
        &self,
        from: Position,
        mut until: Instant,
        stop: &CancellationToken,
    ) -> DispatchEnd {
        let mut window = DeliveryWindow::new(self.settings.window, from.clone());
        let (mut reads, reading) = self.read(from);
        let patience = Arc::new(Patience::new(self.settings.max_tries));
        let mut deliveries = JoinSet::new();
        let mut renewal = tokio::time::interval(self.settings.lease / RENEWALS);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some((number, event)) = window.next() {
                let Some(target) = self.targets.iter().find(|target| target.kind == event.kind) else {
                    window.mark_delivered(number);
                    continue;
                };
                let delivery = Delivery {
                    target: target.clone(),
                    patience: patience.clone(),
                    settings: self.settings.clone(),
                    store: self.store.clone(),
                    metrics: self.metrics.clone(),
                    event,
                };
                deliveries.spawn(async move {
                    delivery.run().await;
                    number
                });
            }
            tokio::select! {
                () = stop.cancelled() => {
                    self.release(&window).await;
                    return DispatchEnd::Stopped;
                }
                Some(delivered) = deliveries.join_next() => match delivered {
                    Ok(number) => window.mark_delivered(number),
                    Err(error) => return failed(error),
                },
                _ = renewal.tick() => match self.renew(&window, until).await {
                    Ok(renewed) => until = renewed,
                    Err(end) => return end,
                },
                read = reads.recv(), if !window.is_full() => match read {
                    Some(read) => {
                        window.push(read);
                        if window.is_full() {
                            self.metrics.limit("hooks_window");
                        }
                    }
                    None => return match reading.await {
                        Ok(Ok(())) => DispatchEnd::Lost,
                        Ok(Err(error)) => error.into(),
                        Err(error) => failed(error),
                    },
                },
            }
        }
    }

    fn read(&self, from: Position) -> (mpsc::Receiver<StreamRead>, JoinHandle<Result<(), StoreError>>) {
        let (to, reads) = mpsc::channel(1);
        let rest =
            if self.source == EventSource::Offline { self.settings.offline_wait } else { Duration::ZERO };
        let Self { source, targets, store, stream_store, metrics, .. } = self.clone();
        let kinds = targets.into_iter().map(|target| target.kind).collect();
        let reading = async move {
            let clock = ClockReading::of(&store).await?;
            HookStreamReader { source, kinds, store, stream_store, rest, clock, metrics, to }.run(from).await
        };
        (reads, tokio::spawn(reading))
    }

    /// Keeps the lease and notes the place; gives until when.
    async fn renew(&self, window: &DeliveryWindow, until: Instant) -> Result<Instant, DispatchEnd> {
        let (hook, lease) = (self.source.name(), self.settings.lease);
        let now = self.store.now();
        for HookTarget { kind, .. } in &self.targets {
            let age = window.oldest(*kind).map_or(Duration::ZERO, |event| age(event, now));
            self.metrics.hook_lag(kind.name(), age);
        }
        let renewed = Instant::now() + lease;
        let hold = self.store.hold_hook(hook, self.server, lease, window.position().clone());
        match tokio::time::timeout_at(until, hold).await {
            Ok(Ok(true)) => Ok(renewed),
            Ok(Ok(false)) | Err(_) => Err(DispatchEnd::Lost),
            Ok(Err(error)) => {
                self.failed("renewing the lease of a hook failed", &error);
                Ok(until)
            }
        }
    }

    /// Leaves the hook to the others at once.
    async fn release(&self, window: &DeliveryWindow) {
        let position = window.position().clone();
        let released = self.store.hold_hook(self.source.name(), self.server, Duration::ZERO, position).await;
        if let Err(error) = released {
            tracing::warn!(hook = self.source.name(), %error, "a hook's lease was not given back; it runs out");
        }
    }
}

/// How long ago an event happened, by the database's clock `now`.
fn age(event: &WebhookEvent, now: Time) -> Duration {
    Duration::from_millis(u64::try_from(now.0.saturating_sub(event.at.0)).unwrap_or_default())
}

fn failed(error: JoinError) -> DispatchEnd {
    DispatchEnd::Failed(StoreError::Fault(error.into()))
}
