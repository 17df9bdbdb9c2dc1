//! Reads the change stream of one [`EventSource`], starting at the source's position in the stream. The reader is a
//! separate task that hands the events one at a time to the dispatcher, the task that delivers the events. The channel
//! between the two tasks holds one event. So the server holds in memory only the dispatcher's window, one batch of the
//! database, and this event.

use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, RawDocument, RawDocumentBuf, doc};
use handlers::Time;
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::error::Error;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::backfill;
use super::event::{EventSource, HookKind, WebhookEvent};
use crate::realtime::change_stream::{is_history_lost, is_too_large};
use crate::store::codec::Undecodable;
use crate::store::webhook_leases::WebhookPosition;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// The longest time for which the database waits for a change. Without a change in this time, the database sends an
/// empty answer.
const MAX_AWAIT: Duration = Duration::from_secs(1);

/// The maximum number of changes in one batch of the database.
const BATCH: u32 = 100;

/// One read from the stream: a position, and the event at that position.
pub(super) struct StreamRead {
    /// None if the read only reports a new position, without an event for a hook.
    pub(super) event: Option<WebhookEvent>,
    /// The source's position after the event's delivery. None for an event of the backfill.
    pub(super) position: Option<WebhookPosition>,
}

/// The reading task of one source.
pub(super) struct HookStreamReader {
    pub(super) source: EventSource,
    /// The hooks that have a URL. Events for other hooks are skipped.
    pub(super) kinds: Vec<HookKind>,
    pub(super) store: Store,
    pub(super) stream_store: Store,
    /// The minimum age of an event when it is handed to the dispatcher. For the hook `offline` this age is
    /// `hooks.offline.wait_ms`: only after this time, Parlor checks which members have no socket. For the other hooks
    /// this age is zero.
    pub(super) rest: Duration,
    pub(super) clock: AgeClock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) to: mpsc::Sender<StreamRead>,
}

/// The error that the dispatcher has stopped: it dropped the receiving end of the channel.
pub(super) struct ConsumerGone;

/// Computes the age of a change by the database's clock. The first field is a time of this clock, in milliseconds. The
/// second field is the local instant at which that time was read.
#[derive(Clone, Copy)]
pub(super) struct AgeClock(i64, Instant);

impl AgeClock {
    pub(super) async fn of(store: &Store) -> Result<Self, StoreError> {
        Ok(Self(store.clock().await?.timestamp_millis(), Instant::now()))
    }

    fn age(self, at: Time) -> Duration {
        let Self(then, instant) = self;
        let now = then.saturating_add(i64::try_from(instant.elapsed().as_millis()).unwrap_or(i64::MAX));
        Duration::from_millis(u64::try_from(now.saturating_sub(at.0)).unwrap_or_default())
    }
}

impl HookStreamReader {
    /// Reads the stream after a position. Returns when the dispatcher stops. Fails when the stream breaks.
    pub(super) async fn run(self, mut from: WebhookPosition) -> Result<(), StoreError> {
        loop {
            let error = match self.stream_store.watch_for(self.source, Some(&from)).await {
                Ok(stream) => match self.follow(stream, &mut from).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
                Err(error) => error.into(),
            };
            if !self.is_position_lost(&error) {
                return Err(error);
            }
            let now = now(&self.stream_store, self.source).await?;
            // `now` becomes the source's position only after the whole backfill is delivered. If `now` were stored
            // earlier, a crash during the backfill would lose events.
            if backfill::run(&self, &from).await?.is_err()
                || self.send(None, Some(now.clone())).await.is_err()
            {
                return Ok(());
            }
            from = now;
        }
    }

    /// Tells whether the stream can't continue at its position. The stream can't continue if an event is too large for
    /// the database to send, or if the database no longer has the stream's history. Logs the reason.
    fn is_position_lost(&self, error: &StoreError) -> bool {
        let StoreError::Fault(fault) = error else { return false };
        let Some(fault) = fault.downcast_ref::<Error>() else { return false };
        let hook = self.source.name();
        if is_too_large(fault) {
            self.metrics.count_fault("hook_event_too_large");
            tracing::error!(
                hook,
                "a change event is too large for the database to send; continuing after it, with events rebuilt from the collections"
            );
            return true;
        }
        if is_history_lost(fault) {
            self.metrics.count_fault("hook_history_lost");
            tracing::error!(
                hook,
                %error,
                "the change stream's history is lost; rebuilding events from the collections, some may be missing"
            );
            return true;
        }
        false
    }

    /// Sends the events of the stream to the dispatcher until the dispatcher stops. Sets `from` to the position of each
    /// change that was read.
    async fn follow(
        &self,
        mut stream: ChangeStream<RawDocumentBuf>,
        from: &mut WebhookPosition,
    ) -> Result<(), StoreError> {
        loop {
            let change = stream.next_if_any().await?;
            let (event, token) = match &change {
                Some(change) => {
                    from.at = change.get_timestamp("clusterTime").map_err(Undecodable::from)?;
                    (self.read(change), token_of(change)?)
                }
                None => match stream.resume_token() {
                    Some(token) => (None, bson::serialize_to_bson(&token).map_err(Undecodable::from)?),
                    None => continue,
                },
            };
            from.token = token;
            if self.send(event, Some(from.clone())).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Decodes a change. A change that can't be decoded is logged and skipped, because a second try would fail in the
    /// same way.
    fn read(&self, change: &RawDocument) -> Option<WebhookEvent> {
        self.source.read(change).unwrap_or_else(|error| {
            self.metrics.count_fault("hook_undecodable");
            tracing::error!(hook = self.source.name(), %error, "could not decode a change; skipping it");
            None
        })
    }

    /// Sends an event and a position to the dispatcher, as soon as the event is at least `rest` old. If the event's
    /// hook has no URL, drops the event and sends only the position.
    pub(super) async fn send(
        &self,
        event: Option<WebhookEvent>,
        position: Option<WebhookPosition>,
    ) -> Result<(), ConsumerGone> {
        let event = event.filter(|event| self.kinds.contains(&event.kind));
        if let Some(event) = &event {
            tokio::time::sleep(self.rest.saturating_sub(self.clock.age(event.at))).await;
        }
        self.to.send(StreamRead { event, position }).await.map_err(|_| ConsumerGone)
    }
}

/// Returns the current end of the stream as a position.
pub(super) async fn now(stream_store: &Store, source: EventSource) -> Result<WebhookPosition, StoreError> {
    let at = stream_store.moment().await?;
    let stream = stream_store.watch_for(source, None).await?;
    let token = stream.resume_token();
    let token = token.ok_or_else(|| StoreError::Fault("the database returned no resume token".into()))?;
    Ok(WebhookPosition { token: bson::serialize_to_bson(&token).map_err(Undecodable::from)?, at })
}

fn token_of(change: &RawDocument) -> Result<Bson, Undecodable> {
    let id = change.get_document("_id")?;
    Ok(Bson::Document(id.try_into()?))
}

impl Store {
    /// Opens the change stream of a source. The stream starts after `from`. If `from` is None, the stream starts at its
    /// current end.
    async fn watch_for(
        &self,
        source: EventSource,
        from: Option<&WebhookPosition>,
    ) -> Result<ChangeStream<RawDocumentBuf>, Error> {
        let of_interest = doc! { "$match": source.changes() };
        let watch =
            self.database().watch().pipeline([of_interest]).max_await_time(MAX_AWAIT).batch_size(BATCH);
        let stream = match from {
            Some(from) => {
                let token: ResumeToken = bson::deserialize_from_bson(from.token.clone())?;
                watch.resume_after(token).await?
            }
            None => watch.await?,
        };
        Ok(stream.with_type())
    }
}
