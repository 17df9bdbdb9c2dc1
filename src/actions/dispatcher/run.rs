//! Runs the action of one admitted frame.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use handlers::{Code, Context, Error, Fields, Pending, Reply, Room, RoomId};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tracing::Instrument;

use super::Runtime;
use crate::actions::bound_socket::BoundSocket;
use crate::actions::envelope::Envelope;
use crate::actions::functions::{BUSY_RETRY_MS, Call};
use crate::actions::registry::{ActionKind, ActionTable, RegisteredAction};
use crate::actions::session_state::SocketSession;
use crate::protocol::close::Close;
use crate::store::{BoundRoom, Store, StoreError};
use crate::supervisor::panic_text;
use crate::webhooks::before_send::ModeratedRoom;

/// An admitted frame: its action is known, and the frame was counted towards its sender's rates.
#[derive(Clone, Copy)]
pub(super) struct AdmittedFrame<'a> {
    pub(super) table: &'a ActionTable,
    pub(super) row: &'a RegisteredAction,
    pub(super) caller: &'a Arc<SocketSession>,
    pub(super) request: ObjectId,
    pub(super) frame: &'a Utf8Bytes,
    pub(super) envelope: &'a Envelope,
}

/// A running action and its deadline.
pub(super) struct StartedCall {
    deadline: Instant,
    task: JoinHandle<Option<Result<Reply, Error>>>,
}

impl Runtime {
    /// Starts the action in a separate task, with a deadline. Consumes `fields`: their memory is freed when this
    /// function returns, so a call that still runs does not hold it.
    pub(super) async fn start(
        &self,
        admitted: AdmittedFrame<'_>,
        fields: Fields<'_>,
    ) -> Result<StartedCall, Error> {
        let permit = self.acquire_permit(admitted.row)?;
        let deadline = Instant::now() + admitted.time_limit();
        self.verify_membership(admitted).await?;
        let call = self.decode(admitted, &fields, deadline)?;
        let call = async move {
            let _permit = permit;
            // A call that never ends must give back its permit at the deadline, even if its client has disconnected.
            tokio::time::timeout_at(deadline, call).await.ok()
        };
        let task = self.tracker.spawn(call.instrument(tracing::debug_span!("call")));
        Ok(StartedCall { deadline, task })
    }

    /// Takes one permit of the action. The number of permits limits how many calls of this action run concurrently.
    fn acquire_permit(&self, row: &RegisteredAction) -> Result<OwnedSemaphorePermit, Error> {
        row.in_flight.clone().try_acquire_owned().map_err(|_| {
            self.metrics.bound_hit("action_max_in_flight");
            Error::rate_limited("too many calls of this action are under way", BUSY_RETRY_MS)
        })
    }

    /// Checks that the caller is a member of the room. Usually the server already knows this and does nothing. The
    /// server asks the database only in two cases: a change of this membership is not yet applied to the caller's inbox
    /// connection, or the server's change stream is late.
    async fn verify_membership(&self, admitted: AdmittedFrame<'_>) -> Result<(), Error> {
        let AdmittedFrame { caller, envelope, .. } = admitted;
        match envelope.room {
            Some(room) if caller.is_stale(room) || self.heartbeat.is_overdue() => {
                self.confirm_member(caller, room).await
            }
            _ => Ok(()),
        }
    }

    /// Loads the caller's membership from the database. If the caller is not a member, returns `not_found`. If the
    /// socket serves only this room, also closes the socket.
    async fn confirm_member(&self, caller: &SocketSession, room: RoomId) -> Result<(), Error> {
        if self.store.role(room, &caller.user).await.map_err(StoreError::of_read)?.is_some() {
            return Ok(());
        }
        if !caller.is_in_many() {
            let exists = self.store.room_exists(room).await.map_err(StoreError::of_read)?;
            caller.end(if exists { Close::NotMember } else { Close::NoRoom });
        }
        Err(Error::new(Code::NotFound, "no such room"))
    }

    /// Decodes the request, and returns the call to run. If the decoder panics, this call fails with `internal`, and
    /// the socket stays open.
    fn decode(
        &self,
        admitted: AdmittedFrame<'_>,
        fields: &Fields<'_>,
        deadline: Instant,
    ) -> Result<Pending<'static, Reply>, Error> {
        let AdmittedFrame { table, row, caller, request, frame, envelope } = admitted;
        let is_function = matches!(row.run, ActionKind::Function(_));
        let call = Call {
            context: self.context(admitted, deadline),
            caller: caller.clone(),
            room: envelope.room,
            as_service: is_function.then(|| self.bound_room(admitted, deadline)).flatten(),
            rates: table.rates.clone(),
            request,
            frame: frame.clone(),
        };
        let begun = panic::catch_unwind(AssertUnwindSafe(|| row.run.begin(call, fields)));
        begun.unwrap_or_else(|panic| Err(panicked(&*panic)))
    }

    /// Builds the context of the handler: its caller, its room and its socket.
    fn context(&self, admitted: AdmittedFrame<'_>, deadline: Instant) -> Context {
        let AdmittedFrame { table, caller, envelope, .. } = admitted;
        let room = self.bound_room(admitted, deadline).map(|room| -> Arc<dyn Room> {
            match self.before_send.load_full() {
                Some(hook) => Arc::new(ModeratedRoom { room, hook }),
                None => Arc::new(room),
            }
        });
        let socket = BoundSocket {
            caller: caller.clone(),
            room: envelope.room,
            verifier: self.verifier.clone(),
            store: self.store.clone(),
            rates: table.rates.clone(),
            page_bytes: table.page_bytes,
            metrics: self.metrics.clone(),
        };
        Context::new(caller.user.clone(), room, Arc::new(socket), table.text_chars)
    }

    /// Returns the store of the call, or none if an inbox connection sent a frame without `room_id`.
    fn bound_room(&self, admitted: AdmittedFrame<'_>, deadline: Instant) -> Option<BoundRoom> {
        let AdmittedFrame { table, caller, request, envelope, .. } = admitted;
        Some(BoundRoom {
            store: Store::clone(&self.store),
            writer: self.writer.clone(),
            receipts: self.receipts.clone(),
            room: envelope.room?,
            caller: caller.user.clone(),
            request,
            audience: self.audience.clone(),
            deadline,
            page_bytes: table.page_bytes,
            selection: self.selection,
        })
    }

    /// Waits until a call has ended. Returns its reply, or the error for the client. The error is `timeout` if the
    /// call's deadline passes, or if the shutdown no longer waits for calls.
    pub(super) async fn await_result(&self, call: StartedCall) -> Result<Reply, Error> {
        let StartedCall { deadline, task } = call;
        let ended = self.overdue.run_until_cancelled(tokio::time::timeout_at(deadline, task)).await;
        match ended {
            Some(Ok(Ok(Some(result)))) => result,
            Some(Ok(Err(error))) => Err(match error.try_into_panic() {
                Ok(panic) => panicked(&*panic),
                Err(_) => Error::internal("the action was ended from outside".to_owned()),
            }),
            Some(Ok(Ok(None)) | Err(_)) | None => {
                self.metrics.bound_hit("handler_ms");
                Err(Error::new(Code::Timeout, "the action took too long; it may still be done"))
            }
        }
    }
}

impl AdmittedFrame<'_> {
    /// Returns the longest time that the action may run: its own `timeout_ms`, or the limit for all actions
    /// (`limits.handler_ms`).
    fn time_limit(&self) -> Duration {
        let own = self.row.limits.timeout_ms.map(|ms| Duration::from_millis(ms.into()));
        own.unwrap_or(self.table.deadline)
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    Error::internal(format!("the action panicked: {}", panic_text(panic)))
}
