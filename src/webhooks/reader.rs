//! Reads the change stream for one hook, from its place on: a task of its own, which waits until whoever tells the
//! events takes them. So no more of them are in memory than the window holds, and the database's batch.

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
use crate::store::webhook_leases::Position;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// How long the database waits for something to happen before it answers that nothing did.
const MAX_AWAIT: Duration = Duration::from_secs(1);

/// How much of the stream is read at once.
const BATCH: u32 = 100;

/// A place in the stream, and what happened there.
pub(super) struct StreamRead {
    /// None where it says only how far the stream has come.
    pub(super) event: Option<WebhookEvent>,
    /// Once it is told the hook stands there; none where it was read past the stream.
    pub(super) position: Option<Position>,
}

pub(super) struct HookStreamReader {
    pub(super) source: EventSource,
    /// The hooks that are configured; events of others are left out.
    pub(super) kinds: Vec<HookKind>,
    pub(super) store: Store,
    pub(super) stream_store: Store,
    /// How long an event rests before it is told.
    pub(super) rest: Duration,
    pub(super) clock: ClockReading,
    pub(super) metrics: Arc<Metrics>,
    pub(super) to: mpsc::Sender<StreamRead>,
}

/// Nobody takes what is read any more.
pub(super) struct ConsumerGone;

/// The database's clock, by which changes are dated, as it was at an instant of ours.
#[derive(Clone, Copy)]
pub(super) struct ClockReading(i64, Instant);

impl ClockReading {
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
    /// Reads on from a position until nobody takes it, or the stream breaks.
    pub(super) async fn run(self, mut from: Position) -> Result<(), StoreError> {
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
            // Once all of it is told the hook stands here: telling it may outlast what the stream remembers.
            if backfill::run(&self, &from).await?.is_err()
                || self.send(None, Some(now.clone())).await.is_err()
            {
                return Ok(());
            }
            from = now;
        }
    }

    /// Whether the stream can't go on at its position after this error.
    fn is_position_lost(&self, error: &StoreError) -> bool {
        let StoreError::Fault(fault) = error else { return false };
        let Some(fault) = fault.downcast_ref::<Error>() else { return false };
        let hook = self.source.name();
        if is_too_large(fault) {
            self.metrics.fault("hook_event_too_large");
            tracing::error!(
                hook,
                "a change event is too large for the database to send; going on after it, with what the collections show"
            );
            return true;
        }
        if is_history_lost(fault) {
            self.metrics.fault("hook_history_lost");
            tracing::error!(
                hook,
                %error,
                "the change stream's history is lost: events may be missing; telling what the collections still show"
            );
            return true;
        }
        false
    }

    /// Hands on what comes, until nobody takes it; `from` goes along.
    async fn follow(
        &self,
        mut stream: ChangeStream<RawDocumentBuf>,
        from: &mut Position,
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

    /// One that isn't understood would not be the next time either: it is logged, and left out.
    fn read(&self, change: &RawDocument) -> Option<WebhookEvent> {
        self.source.read(change).unwrap_or_else(|error| {
            self.metrics.fault("hook_undecodable");
            tracing::error!(hook = self.source.name(), %error, "a change was not understood and is not told");
            None
        })
    }

    /// Hands on an event once it has rested.
    pub(super) async fn send(
        &self,
        event: Option<WebhookEvent>,
        position: Option<Position>,
    ) -> Result<(), ConsumerGone> {
        let event = event.filter(|event| self.kinds.contains(&event.kind));
        if let Some(event) = &event {
            tokio::time::sleep(self.rest.saturating_sub(self.clock.age(event.at))).await;
        }
        self.to.send(StreamRead { event, position }).await.map_err(|_| ConsumerGone)
    }
}

/// Where the stream is now.
pub(super) async fn now(stream_store: &Store, source: EventSource) -> Result<Position, StoreError> {
    let at = stream_store.moment().await?;
    let stream = stream_store.watch_for(source, None).await?;
    let token = stream.resume_token();
    let token = token.ok_or_else(|| StoreError::Fault("a change stream that is nowhere".into()))?;
    Ok(Position { token: bson::serialize_to_bson(&token).map_err(Undecodable::from)?, at })
}

fn token_of(change: &RawDocument) -> Result<Bson, Undecodable> {
    let id = change.get_document("_id")?;
    Ok(Bson::Document(id.try_into()?))
}

impl Store {
    /// Opens the stream of a hook's changes, after a position or from now on.
    async fn watch_for(
        &self,
        source: EventSource,
        from: Option<&Position>,
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
