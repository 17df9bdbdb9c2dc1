//! Opens a socket: finds the room, joins it in the hub, reads its history, checks the membership, and builds the first
//! frame. The hub is the part of the server that passes the events of a room to its sockets.

use std::sync::Arc;

use handlers::{Mark, Resumed, RoomId, UserId};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::handshake::{Admission, SocketTarget};
use super::member_email::{accept, drop_email, keep_email, may_keep};
use super::open_inbox;
use super::room_view::OneRoomView;
use super::services::SocketServices;
use super::user_sockets::{may_read, take_slot};
use super::view::Opened;
use super::view::SocketView;
use crate::actions::session_state::{SessionScope, SocketSession};
use crate::auth;
use crate::config::DirectRooms;
use crate::limits::user_quota::UserSlot;
use crate::model::room::StoredMember;
use crate::protocol::close::Close;
use crate::protocol::cursor::RoomCursor;
use crate::protocol::json::json;
use crate::protocol::session_options::SessionOptions;
use crate::realtime::history_watermark::HistoryWatermark;
use crate::realtime::hub::subscription::HubSubscription;
use crate::realtime::outbox::Outbox;
use crate::store::{BulkTurn, MessageRenderer, NewMember, NoTurn, ResumedRoom, Snapshot};

/// Opens the requested room, or all rooms of the caller.
pub(super) async fn open(
    services: &Arc<SocketServices>,
    outbox: &Arc<Outbox>,
    admission: Admission,
) -> Result<Opened, Close> {
    // If the heartbeat is silent, this server receives no events from the database. Another server may receive the
    // events, so the client should try another server.
    if services.heartbeat.is_silent() {
        return Err(Close::Unavailable);
    }
    if admission.room == SocketTarget::All {
        open_inbox::open(services, outbox, admission).await
    } else {
        open_room(services, outbox, admission).await
    }
}

/// Finds or creates the room, joins it in the hub, reads its history, and checks the membership.
async fn open_room(
    services: &Arc<SocketServices>,
    outbox: &Arc<Outbox>,
    admission: Admission,
) -> Result<Opened, Close> {
    let Admission { caller, room, options } = admission;
    let auth::Caller { user, email, doubted_email, expires_at, key } = caller;
    let found = match &room {
        SocketTarget::Id(room) => Some(*room),
        SocketTarget::All => None,
        SocketTarget::With(other) => {
            let found = services.store.direct_room(&user, other).await;
            found.map_err(|error| services.room_reader.refused(&error))?
        }
    };
    if found.is_none() && services.config.load().rooms.direct == DirectRooms::Api {
        return Err(Close::NoRoom);
    }
    let slot = take_slot(services, &user).await?;
    let room = match (found, room) {
        (Some(room), _) | (None, SocketTarget::Id(room)) => room,
        (None, SocketTarget::With(other)) => {
            make_direct(services, &slot, &user, email.clone(), &other).await?
        }
        (None, SocketTarget::All) => return Err(Close::NoRoom),
    };
    // A resume is a bulk read (a large read whose number is limited on the server), and waits for a permit. A
    // connection without a resume waits only for a permit of its user, because 20 concurrent histories take 200 MB of
    // memory.
    let (store, turn) = if options.resumes() {
        services.store.bulk(Some(&user)).await.map_err(|NoTurn| Close::Busy)?
    } else {
        let turn = services.store.own_turn(&user).await.map_err(|NoTurn| Close::Busy)?;
        (services.store.clone(), turn)
    };
    let _turn = turn.map(BulkTurn::without_rest);
    may_read(services, &slot)?;
    let (joined, subscription) = HubSubscription::new(&services.hub, room, outbox);
    let since = options.since.as_deref();
    let (mut snapshot, changed) =
        services.room_reader.read_since(&store, room, joined, outbox, since).await?;
    let missed = changed.as_ref().map_or(0, |changed| changed.messages.len() + changed.edited.len());
    slot.spend_documents(
        &services.runtime.rates(),
        snapshot.members.len() + snapshot.messages.len() + missed,
    );
    let Some(member) = snapshot.members.iter_mut().find(|member| member.user == user) else {
        let exists =
            services.store.room_exists(room).await.map_err(|error| services.room_reader.refused(&error))?;
        return Err(if exists { Close::NotMember } else { Close::NoRoom });
    };
    if std::mem::take(&mut member.pending) {
        // A user who opens a room accepts the room.
        accept(services, room, &user, email.clone());
        member.email = email.or(member.email.take());
    } else if let Some(email) = email
        && member.email.as_ref() != Some(&email)
        && may_keep(services, &slot, &email)
    {
        member.email = Some(email.clone());
        keep_email(services, room, &user, email);
    }
    // The database may still have the address from the time before the token's issuer marked it as unverified. The
    // members in memory may be older than the database. So the write to the database also compares the stored address,
    // and removes only the address `doubted_email`.
    let is_shown = doubted_email.is_some() && member.email == doubted_email;
    if is_shown {
        member.email = None;
    }
    // If this room shows the address, the address is removed from all rooms of the user. Otherwise it is removed only
    // from this room, because a user may have thousands of rooms.
    drop_email(services, (!is_shown).then_some(room), &user, doubted_email);
    let email = member.email.clone();
    if changed.as_ref().is_some_and(ResumedRoom::is_cut) {
        services.metrics.bound_hit("page_bytes");
    }
    if changed.as_ref().is_some_and(|changed| !changed.resumed) && options.resumes() {
        services.metrics.bound_hit("resume");
    }
    let first_frame = first_frame(&snapshot, room, &options, changed.as_ref());
    let view = OneRoomView {
        room,
        _subscription: subscription,
        shown: snapshot.complete.then(|| HistoryWatermark::of(&snapshot)),
        // If the history could not be read, the client gets no position from which it could resume.
        position: changed.map(|changed| changed.position),
        unacked_up_to: snapshot.unread(&user, options.manual_receipts).unwrap_or_default(),
    };
    let caller =
        SocketSession::new(user, email, SessionScope::Room(room), slot, options, expires_at).signed_with(key);
    let caller = Arc::new(caller);
    Ok(Opened { caller, view: SocketView::Room(view), first_frame })
}

/// Creates the direct room of the caller and another user. The caller's token proves nothing about the other user. So
/// the other user becomes a member without an address, and must still accept the room.
async fn make_direct(
    services: &SocketServices,
    slot: &UserSlot,
    caller: &UserId,
    email: Option<String>,
    other: &UserId,
) -> Result<RoomId, Close> {
    slot.spend_room(&services.runtime.rates()).map_err(|_| {
        services.metrics.bound_hit("rooms_per_minute");
        Close::TooManyRooms
    })?;
    let caller = NewMember { user_id: caller.clone(), email };
    let made = services.store.make_direct(caller, other).await;
    Ok(made.map_err(|error| services.room_reader.refused(&error))?.id)
}

/// Returns the first frame. For a Level 1 socket, the frame is the history as an array. For a Level 2 socket, the frame
/// has the missed changes, and a cursor for the next resume. If the history could not be read, the cursor is empty.
fn first_frame(
    snapshot: &Snapshot,
    room: RoomId,
    options: &SessionOptions,
    changed: Option<&ResumedRoom>,
) -> Utf8Bytes {
    if options.since.is_none() {
        return json(&snapshot.visible_messages().collect::<Vec<_>>());
    }
    let mark = |member: &StoredMember| {
        let StoredMember { user, marks, .. } = member;
        Mark { user_id: user.clone(), delivered: marks.delivered, read: marks.read }
    };
    let marks = snapshot.members.iter().map(mark).collect();
    let Some(changed) = changed else {
        let (messages, edited, deleted) = (Vec::new(), Vec::new(), Vec::new());
        let cursor = String::new();
        return json(&Resumed { resumed: false, messages, edited, deleted, marks, has_more: false, cursor });
    };
    let showing = MessageRenderer::to(&snapshot.members);
    let show = |message| showing.show(message);
    json(&Resumed {
        resumed: changed.resumed,
        messages: changed.messages.iter().map(show).collect(),
        edited: changed.edited.iter().map(show).collect(),
        deleted: changed.deleted.clone(),
        marks,
        has_more: changed.has_more,
        cursor: RoomCursor { room, position: changed.position }.to_string(),
    })
}
