//! Delivers the events of one source to the source's hooks. A source is one change stream, with one position and one
//! lease in the database. A lease is the right to deliver until a time of the database's clock. Only the server that
//! holds the lease delivers, so two servers don't deliver the same event concurrently.

use std::sync::Arc;
use std::time::Duration;

use handlers::Time;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::WebhookServices;
use super::deliver::Delivery;
use super::event::{EventSource, HookKind, WebhookEvent};
use super::reader::{self, AgeClock, HookStreamReader, StreamRead};
use super::retry_budget::RetryBudget;
use super::window::DeliveryWindow;
use crate::config::HookSettings;
use crate::functions::target::Target;
use crate::store::StoreError;
use crate::store::webhook_leases::WebhookPosition;

/// The number of renewals of a lease within its duration (`hooks.lease_ms`).
const RENEWALS: u32 = 3;

/// A hook: the receiver of its events, and the permits for requests to this receiver.
#[derive(Clone)]
pub(super) struct HookTarget {
    pub(super) kind: HookKind,
    /// The name in logs, in metrics, and of set-aside events: `after_send`, or `after_send:audit` for a file.
    pub(super) name: Arc<str>,
    pub(super) receiver: Arc<Target>,
    /// `limits.page_bytes`, for a file that reads its room.
    pub(super) page_bytes: usize,
    /// Limits the number of concurrent requests. An event that waits between two tries holds no permit.
    pub(super) permits: Arc<Semaphore>,
}

/// The hooks of one source on this server, and the parts of the server that the delivery uses.
#[derive(Clone)]
pub(super) struct Dispatcher {
    pub(super) source: EventSource,
    /// The name under which the position and the lease are stored: the name of the source, and of the file if the hook
    /// is a file.
    pub(super) name: Arc<str>,
    pub(super) targets: Vec<HookTarget>,
    pub(super) settings: HookSettings,
    pub(super) services: WebhookServices,
}

/// The reason why this server stopped delivering.
enum DispatchEnd {
    /// The server shuts down.
    Stopped,
    /// Another server holds the lease, or may have taken it.
    Lost,
    /// The database or the change stream failed.
    Failed(StoreError),
}

impl From<StoreError> for DispatchEnd {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Dispatcher {
    /// Stores the current end of the stream as the source's position, if the source has no position.
    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        if self.services.store.hook_is_known(&self.name).await? {
            return Ok(());
        }
        let from = reader::now(&self.services.stream_store, self.source).await?;
        self.services.store.begin_hook(&self.name, from).await
    }

    /// Takes the lease whenever it is free, and delivers events while this server holds the lease. Runs until `stop` is
    /// cancelled.
    pub(super) async fn run(self, stop: CancellationToken) {
        let (hook, lease) = (&*self.name, self.settings.lease);
        loop {
            // This server computes the end of the lease from the time before the request. Therefore the lease never
            // ends in the database before it ends on this server.
            let until = Instant::now() + lease;
            match self.services.store.take_hook(hook, self.services.server, lease).await {
                Ok(Some(position)) => {
                    self.holds_lease(true);
                    let ended = self.deliver_events(position, until, &stop).await;
                    self.holds_lease(false);
                    match ended {
                        DispatchEnd::Stopped => return,
                        DispatchEnd::Lost => {
                            tracing::warn!(hook, "lost the lease of a hook; trying to take it again");
                        }
                        DispatchEnd::Failed(error) => {
                            self.failed("could not continue delivering to a hook", &error);
                        }
                    }
                }
                // Either another server holds the lease, or the database no longer has the source's position. `begin`
                // replaces a missing position by the stream's current end.
                Ok(None) => {
                    if let Err(error) = self.begin().await {
                        self.failed("could not store a position for a hook", &error);
                    }
                }
                Err(error) => self.failed("could not take the lease of a hook", &error),
            }
            if stop.run_until_cancelled(tokio::time::sleep(lease / RENEWALS)).await.is_none() {
                return;
            }
        }
    }

    fn holds_lease(&self, held: bool) {
        for target in &self.targets {
            self.services.metrics.hook_lease(target.name.to_string(), held);
        }
    }

    fn failed(&self, what: &str, error: &StoreError) {
        self.services.metrics.count_fault("hooks");
        tracing::warn!(hook = &*self.name, %error, "{what}; trying again");
    }

    /// Delivers the events after the position `from`. `until` is the end of the lease. Returns the reason why the
    /// delivery ended.
    async fn deliver_events(
        &self,
        from: WebhookPosition,
        mut until: Instant,
        stop: &CancellationToken,
    ) -> DispatchEnd {
        let mut window = DeliveryWindow::new(self.settings.window, from.clone());
        let (mut reads, reading) = self.read(from);
        let retry_budget = Arc::new(RetryBudget::new(self.settings.max_tries));
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
                    retry_budget: retry_budget.clone(),
                    settings: self.settings.clone(),
                    store: self.services.store.clone(),
                    metrics: self.services.metrics.clone(),
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
                            self.services.metrics.bound_hit("hooks_window");
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

    fn read(
        &self,
        from: WebhookPosition,
    ) -> (mpsc::Receiver<StreamRead>, JoinHandle<Result<(), StoreError>>) {
        let (to, reads) = mpsc::channel(1);
        let rest =
            if self.source == EventSource::Offline { self.settings.offline_wait } else { Duration::ZERO };
        let Self { source, targets, services, .. } = self.clone();
        let WebhookServices { store, stream_store, metrics, .. } = services;
        let kinds = targets.into_iter().map(|target| target.kind).collect();
        let reading = async move {
            let clock = AgeClock::of(&store).await?;
            HookStreamReader { source, kinds, store, stream_store, rest, clock, metrics, to }.run(from).await
        };
        (reads, tokio::spawn(reading))
    }

    /// Renews the lease and stores the position. Returns the new end of the lease. If the database reported an error,
    /// returns the old end. Fails if this server has lost the lease.
    async fn renew(&self, window: &DeliveryWindow, until: Instant) -> Result<Instant, DispatchEnd> {
        let (hook, lease) = (&*self.name, self.settings.lease);
        let now = self.services.store.now();
        for HookTarget { kind, name, .. } in &self.targets {
            let age = window.oldest(*kind).map_or(Duration::ZERO, |event| age(event, now));
            self.services.metrics.hook_lag(name.to_string(), age);
        }
        let renewed = Instant::now() + lease;
        let hold =
            self.services.store.hold_hook(hook, self.services.server, lease, window.position().clone());
        match tokio::time::timeout_at(until, hold).await {
            Ok(Ok(true)) => Ok(renewed),
            Ok(Ok(false)) | Err(_) => Err(DispatchEnd::Lost),
            Ok(Err(error)) => {
                self.failed("could not renew the lease of a hook", &error);
                Ok(until)
            }
        }
    }

    /// Ends the lease now, so that another server can take it immediately.
    async fn release(&self, window: &DeliveryWindow) {
        let position = window.position().clone();
        let released =
            self.services.store.hold_hook(&self.name, self.services.server, Duration::ZERO, position).await;
        if let Err(error) = released {
            tracing::warn!(hook = &*self.name, %error, "could not release the lease of a hook; the lease ends by itself");
        }
    }
}

/// Returns the age of an event at the time `now`, a time of the database's clock.
fn age(event: &WebhookEvent, now: Time) -> Duration {
    Duration::from_millis(u64::try_from(now.0.saturating_sub(event.at.0)).unwrap_or_default())
}

fn failed(error: JoinError) -> DispatchEnd {
    DispatchEnd::Failed(StoreError::Fault(error.into()))
}
