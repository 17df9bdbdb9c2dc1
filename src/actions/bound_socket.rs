//! Implements [`Connection`], by which an action's handler uses the socket of its caller.

use std::sync::Arc;

use handlers::{Code, Connection, Error, Pending, RoomId, RoomPage, RoomsFrom, Time};

use super::session_state::{SessionScope, SocketSession, millis};
use crate::auth::{self, Verifier};
use crate::limits::rate::{Rates, whole_ms};
use crate::store::{InboxQuery, RoomListPosition, RoomPageQuery, Store, StoreError, to_room_view};
use crate::telemetry::metrics::Metrics;

/// The most rooms in a page, and in the first frame of an inbox connection (docs/protocol.md, `rooms`).
pub(crate) const ROOMS: usize = 50;

/// The caller's socket and the services that the methods of [`Connection`] need, for one call of an action.
pub(crate) struct BoundSocket {
    pub(crate) caller: Arc<SocketSession>,
    /// The room of the call; none if an inbox connection sent a frame without `room_id`.
    pub(crate) room: Option<RoomId>,
    pub(crate) verifier: Verifier,
    pub(crate) store: Arc<Store>,
    pub(crate) rates: Arc<Rates>,
    /// `limits.page_bytes`: the most bytes of a page of rooms.
    pub(crate) page_bytes: usize,
    pub(crate) metrics: Arc<Metrics>,
}

impl BoundSocket {
    fn set_open(&self, open: bool) -> Result<(), Error> {
        let room = self.room.ok_or_else(|| Error::invalid("room_id: is needed"))?;
        if let SessionScope::Inbox(inbox) = &self.caller.scope {
            inbox.set_open(room, open);
        }
        Ok(())
    }
}

impl Connection for BoundSocket {
    fn renew<'a>(&'a self, token: &'a str) -> Pending<'a, Time> {
        Box::pin(async move {
            let verified = self.verifier.verify_or_refetch(token, None).await;
            let auth::Caller { user, expires_at, key, .. } = verified.map_err(|refused| {
                if refused.is_too_long() {
                    self.metrics.bound_hit("token_bytes");
                }
                let code = if refused.is_temporary() { Code::Unavailable } else { Code::InvalidToken };
                Error::new(code, refused.as_str())
            })?;
            if user != self.caller.user {
                return Err(Error::new(Code::InvalidToken, "the token is another user's"));
            }
            self.caller.replace_token(expires_at, key);
            let named = millis(expires_at - auth::LEEWAY);
            Ok(Time(i64::try_from(named).unwrap_or(i64::MAX)))
        })
    }

    fn open(&self) -> Result<(), Error> {
        self.set_open(true)
    }

    fn close(&self) -> Result<(), Error> {
        self.set_open(false)
    }

    fn rooms(&self, from: RoomsFrom) -> Pending<'_, RoomPage> {
        Box::pin(async move {
            let before = page_after(from, self.caller.page_end())?;
            let page = RoomPageQuery { before, limit: ROOMS, bytes: self.page_bytes };
            let (store, _turn) = self
                .store
                .bulk(Some(&self.caller.user))
                .await
                .map_err(|busy| StoreError::from(busy).of_read())?;
            self.caller.slot.check_read_budget(&self.rates).map_err(|wait| {
                self.metrics.bound_hit("documents_per_minute");
                Error::rate_limited("too many documents were read", whole_ms(wait))
            })?;
            let rooms = store
                .inbox(&self.caller.user, InboxQuery { page, first: false, from: None })
                .await
                .map_err(StoreError::of_read)?;
            self.caller.slot.spend_documents(&self.rates, rooms.documents());
            let online =
                store.online_in(&rooms.shown, Some(rooms.as_of)).await.map_err(StoreError::of_read)?;
            if let SessionScope::Inbox(inbox) = &self.caller.scope {
                let last = rooms.shown.iter().filter(|room| !room.pending);
                let last = last.filter_map(|room| Some((room.room.id, room.undelivered()?)));
                inbox.show(last.collect());
            }
            if rooms.next.is_some() && rooms.shown.len() < ROOMS {
                self.metrics.bound_hit("page_bytes");
            }
            self.caller.set_page_end(rooms.next);
            let next = rooms.next.map(|next| next.to_string());
            Ok(RoomPage {
                rooms: rooms.shown.into_iter().map(|room| to_room_view(room, &online)).collect(),
                next,
            })
        })
    }
}

/// Returns the room after which a page begins. `last` is the last room of the socket's previous page.
///
/// Several rooms can have their last activity in one millisecond. A client that sends only `before`, a time, doesn't
/// say which rooms of this millisecond it already has. If the socket's previous page ended in this millisecond, the new
/// page continues after the previous page. Otherwise the new page contains all rooms of this millisecond. So the client
/// misses no room, and does not get the same page for ever.
pub(crate) fn page_after(
    from: RoomsFrom,
    last: Option<RoomListPosition>,
) -> Result<Option<RoomListPosition>, Error> {
    let (at, room) = match from {
        RoomsFrom::Latest => return Ok(None),
        RoomsFrom::Next(next) => {
            let next = next.parse().map_err(|_| Error::invalid("next: not the `next` of a page"));
            return next.map(Some);
        }
        RoomsFrom::Before { at, room } => (at, room),
    };
    let at = bson::DateTime::parse_rfc3339_str(at);
    let at = Time(at.map_err(|_| Error::invalid("before: not a time of RFC 3339"))?.timestamp_millis());
    let of_last = || last.filter(|last| last.at == at).map(|last| last.room);
    Ok(Some(RoomListPosition { at, room: room.or_else(of_last).unwrap_or(RoomId::MAX) }))
}
