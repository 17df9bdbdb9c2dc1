//! Tells one hook what happened, while this server holds its lease.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use handlers::{MessageId, RoomId, Time, UserId};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::event::{Event, Kind, Lane, What};
use super::reader::{self, Clock, Read, Reader};
use super::window::Window;
use crate::config::HookSettings;
use crate::metrics::Metrics;
use crate::outbound::Receiver;
use crate::store::hooks::Position;
use crate::store::{Presence, Store, StoreError};

/// Of the lease's time, how much passes between two renewals.
const RENEWALS: u32 = 3;

/// One hook, on one server.
#[derive(Clone)]
pub(super) struct Dispatcher {
    pub(super) kind: Kind,
    pub(super) receiver: Arc<Receiver>,
    pub(super) at_once: usize,
    pub(super) settings: HookSettings,
    /// The lease's holder.
    pub(super) server: ObjectId,
    pub(super) store: Store,
    pub(super) stream_store: Store,
    pub(super) metrics: Arc<Metrics>,
}

/// Why a server stops telling.
enum End {
    /// The server goes away.
    Stopped,
    /// Another server has the lease, or may have.
    Lost,
    /// The database, or the stream.
    Failed(StoreError),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Dispatcher {
    /// Gives the hook a place, where it has none.
    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        if self.store.hook_is_known(self.kind.name()).await? {
            return Ok(());
        }
        let now = reader::now(&self.stream_store, self.kind).await?;
        self.store.begin_hook(self.kind.name(), now).await
    }

    /// Takes the lease whenever it is free, and tells events while it lasts; until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let (hook, lease) = (self.kind.name(), self.settings.lease);
        loop {
            // Counted from before the question: the database can't have given it for longer.
            let until = Instant::now() + lease;
            match self.store.take_hook(hook, self.server, lease).await {
                Ok(Some(position)) => {
                    self.metrics.hook_lease(hook, true);
                    let ended = self.tell(position, until, &stop).await;
                    self.metrics.hook_lease(hook, false);
                    match ended {
                        End::Stopped => return,
                        End::Lost => tracing::warn!(hook, "the lease of a hook was lost"),
                        End::Failed(error) => self.failed("telling a hook stopped", &error),
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

    fn failed(&self, what: &str, error: &StoreError) {
        self.metrics.fault("hooks");
        tracing::warn!(hook = self.kind.name(), %error, "{what}; trying again");
    }

    /// Tells events from a position on.
    async fn tell(&self, from: Position, mut until: Instant, stop: &CancellationToken) -> End {
        let mut window = Window::new(self.settings.window, self.at_once, from.clone());
        let (mut reads, reading) = self.read(from);
        let mut telling = JoinSet::new();
        let mut renewal = tokio::time::interval(self.settings.lease / RENEWALS);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some((number, event)) = window.next() {
                telling.spawn(self.clone().deliver(number, event));
            }
            tokio::select! {
                () = stop.cancelled() => {
                    self.release(&window).await;
                    return End::Stopped;
                }
                Some(told) = telling.join_next() => match told {
                    Ok(number) => window.told(number),
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
                        Ok(Ok(())) => End::Lost,
                        Ok(Err(error)) => error.into(),
                        Err(error) => failed(error),
                    },
                },
            }
        }
    }

    fn read(&self, from: Position) -> (mpsc::Receiver<Read>, JoinHandle<Result<(), StoreError>>) {
        let (to, reads) = mpsc::channel(1);
        let rest = if self.kind == Kind::Offline { self.settings.offline_wait } else { Duration::ZERO };
        let Self { kind, store, stream_store, metrics, .. } = self.clone();
        let reading = async move {
            let clock = Clock::of(&store).await?;
            Reader { kind, store, stream_store, rest, clock, metrics, to }.run(from).await
        };
        (reads, tokio::spawn(reading))
    }

    /// Keeps the lease and notes the place; gives until when.
    async fn renew(&self, window: &Window, until: Instant) -> Result<Instant, End> {
        let (hook, lease) = (self.kind.name(), self.settings.lease);
        let now = self.store.now();
        let age = window.oldest().map_or(Duration::ZERO, |event| age(event, now));
        self.metrics.hook_lag(hook, age);
        let renewed = Instant::now() + lease;
        let hold = self.store.hold_hook(hook, self.server, lease, window.position().clone());
        match tokio::time::timeout_at(until, hold).await {
            Ok(Ok(true)) => Ok(renewed),
            Ok(Ok(false)) | Err(_) => Err(End::Lost),
            Ok(Err(error)) => {
                self.failed("renewing the lease of a hook failed", &error);
                Ok(until)
            }
        }
    }

    /// Leaves the hook to the others at once.
    async fn release(&self, window: &Window) {
        let position = window.position().clone();
        let released = self.store.hold_hook(self.kind.name(), self.server, Duration::ZERO, position).await;
        if let Err(error) = released {
            tracing::warn!(hook = self.kind.name(), %error, "a hook's lease was not given back; it runs out");
        }
    }

    /// Tells one event, for as long as that takes; gives its number back.
    async fn deliver(self, number: u64, event: Event) -> u64 {
        let mut pause = self.settings.retry;
        let mut first = true;
        let mut bodies = None;
        loop {
            let told = match &mut bodies {
                Some(bodies) => self.post_all(&event.lane(), bodies).await,
                None => match self.bodies(&event).await {
                    Ok(made) => {
                        bodies = Some(made);
                        continue;
                    }
                    Err(error) => Err(error.to_string()),
                },
            };
            match told {
                Ok(()) => return number,
                Err(error) => {
                    self.metrics.hook(self.kind.name(), "retried");
                    if std::mem::take(&mut first) {
                        tracing::warn!(
                            hook = self.kind.name(),
                            event = event.id,
                            error,
                            "an event could not be told; trying again"
                        );
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.settings.retry_max);
        }
    }

    /// Posts them, the last first, and takes off what was posted.
    async fn post_all(&self, lane: &Lane, bodies: &mut Vec<String>) -> Result<(), String> {
        while let Some(body) = bodies.last() {
            self.receiver.post(lane, body.clone()).await.map_err(|error| error.to_string())?;
            self.metrics.hook(self.kind.name(), "told");
            bodies.pop();
        }
        Ok(())
    }

    /// The requests that tell an event.
    async fn bodies(&self, event: &Event) -> Result<Vec<String>, StoreError> {
        let body =
            |body: Result<String, serde_json::Error>| body.map_err(|error| StoreError::Fault(error.into()));
        match &event.what {
            What::Sent { room_id, message_id, sender_id, .. } if self.kind == Kind::Offline => {
                let absent = self.absent(*room_id, *message_id, sender_id, event).await?;
                absent.iter().map(|user| body(event.body_for(user))).collect()
            }
            _ => Ok(vec![body(event.body(self.kind))?]),
        }
    }

    /// The members who had no socket anywhere from a message's commit on; nobody where it was deleted meanwhile.
    async fn absent(
        &self,
        room: RoomId,
        message: MessageId,
        sender: &UserId,
        event: &Event,
    ) -> Result<Vec<UserId>, StoreError> {
        if self.store.is_deleted(room, message).await? {
            return Ok(Vec::new());
        }
        let (_, members) = self.store.members_known(room).await?;
        let others = members.into_iter().filter(|member| member.user != *sender);
        let waiting = others.filter(|member| member.marks.delivered < message.get());
        let users: Vec<UserId> = waiting.map(|member| member.user).collect();
        let found: HashMap<UserId, Presence> = self.store.presences(&users).await?;
        let was_there = |user: &UserId| {
            found.get(user).is_some_and(|presence| {
                presence.online || presence.last_seen.is_some_and(|seen| seen >= event.at)
            })
        };
        Ok(users.into_iter().filter(|user| !was_there(user)).collect())
    }
}

/// How long ago an event happened, by the database's clock `now`.
fn age(event: &Event, now: Time) -> Duration {
    Duration::from_millis(u64::try_from(now.0.saturating_sub(event.at.0)).unwrap_or_default())
}

fn failed(error: JoinError) -> End {
    End::Failed(StoreError::Fault(error.into()))
}
