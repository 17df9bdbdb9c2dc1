//! Opens an inbox connection, which is one socket for all rooms of a user. The connection joins the rooms in the hub
//! (the part of the server that passes events to sockets). The server then reads all rooms at one cluster time (a time
//! of MongoDB's logical clock).

use std::collections::HashSet;
use std::sync::Arc;

use bson::Timestamp;
use handlers::UserId;
use tokio::time::Instant;

use super::handshake::Admission;
use super::inbox_view::InboxView;
use super::member_email::{drop_email, may_keep};
use super::services::SocketServices;
use super::user_sockets::{may_read, take_slot};
use super::view::{Opened, SocketView};
use crate::actions::bound_socket::ROOMS;
use crate::actions::session_state::{SessionScope, SocketSession};
use crate::auth;
use crate::protocol::close::Close;
use crate::protocol::cursor::InboxCursor;
use crate::realtime::outbox::Outbox;
use crate::realtime::room_reader::RETRY_PAUSE;
use crate::retry;
use crate::store::{InboxPage, InboxQuery, NoTurn, RoomPageQuery, Store, json_size};

/// Joins all rooms of the user, reads them, and builds the first frame.
pub(super) async fn open(
    services: &Arc<SocketServices>,
    outbox: &Arc<Outbox>,
    admission: Admission,
) -> Result<Opened, Close> {
    let Admission { caller, options, .. } = admission;
    let auth::Caller { user, email, doubted_email, expires_at, key } = caller;
    let slot = take_slot(services, &user).await?;
    let (store, _turn) = services.store.bulk(Some(&user)).await.map_err(|NoTurn| Close::Busy)?;
    may_read(services, &slot)?;
    let page_bytes = services.config.load().limits.page_bytes;
    let rooms = outbox.rooms().cloned().unwrap_or_default();
    let from = options.since.as_deref().and_then(|since| since.parse().ok());
    if let Some(email) = &email
        && may_keep(services, &slot, email)
    {
        keep_email(services, &user, email.clone());
    }
    drop_email(services, None, &user, doubted_email);
    let caller =
        SocketSession::new(user, email, SessionScope::Inbox(rooms.clone()), slot, options, expires_at);
    let caller = Arc::new(caller.signed_with(key));
    let mut view = InboxView::new(services, &caller, outbox, &rooms);
    let (mut read, mut reached) = self::read(services, &store, &caller, &mut view, from.as_ref()).await?;
    let mut contacts = HashSet::new();
    if read.missed.is_some() {
        // A resuming client must also learn which members of its unchanged rooms are online.
        let online = store.contacts_online(&caller.user, &read.all, read.as_of).await;
        let online = online.map_err(|error| services.room_reader.refused(&error))?;
        let online = store.visible(&read.all, online).await;
        contacts = online.map_err(|error| services.room_reader.refused(&error))?;
        if contacts.iter().map(|user| json_size::of_user(user) + 1).sum::<usize>() > page_bytes / 4 {
            (read, reached) = self::read(services, &store, &caller, &mut view, None).await?;
        }
    }
    caller.slot.spend_documents(&services.runtime.rates(), read.documents());
    if read.missed.is_none() && caller.resumes() {
        services.metrics.bound_hit("resume");
    }
    if read.next.is_some() && read.shown.len() < ROOMS {
        services.metrics.bound_hit("page_bytes");
    }
    let online = if read.missed.is_some() {
        Ok(contacts)
    } else {
        store.online_in(&read.shown, Some(read.as_of)).await.map(|mut online| {
            let members = read.shown.iter().flat_map(|room| &room.members);
            let accepted: HashSet<_> =
                members.filter(|member| !member.pending).map(|member| &member.user).collect();
            online.retain(|user| accepted.contains(user));
            online
        })
    };
    let online = online.map_err(|error| services.room_reader.refused(&error))?;
    let first_frame = view.begin(read, reached, online);
    Ok(Opened { caller, view: SocketView::Inbox(Box::new(view)), first_frame })
}

/// Stores the token's address in all rooms of the user, in the background. The socket doesn't wait for the write,
/// because the other members may see the address a little later.
fn keep_email(services: &Arc<SocketServices>, user: &UserId, email: String) {
    let (store, metrics, user) = (services.store.clone(), services.metrics.clone(), user.clone());
    services.lifecycle.spawn(async move {
        if let Err(error) = store.set_email_everywhere(&user, &email).await {
            metrics.count_fault("email");
            tracing::warn!(%error, "could not store a user's address; the next connect tries again");
        }
    });
}

/// Joins the user's rooms and reads them. Repeats both steps until the read is current. A current read includes every
/// change that the hub had received when the connection joined the rooms. A current read contains only rooms that the
/// connection has joined.
async fn read(
    services: &Arc<SocketServices>,
    store: &Store,
    caller: &SocketSession,
    view: &mut InboxView,
    from: Option<&InboxCursor>,
) -> Result<(InboxPage, Option<Timestamp>), Close> {
    let timeout = services.config.load().mongodb.operation;
    let deadline = Instant::now() + timeout;
    let mut known =
        store.room_ids(&caller.user).await.map_err(|error| services.room_reader.refused(&error))?;
    loop {
        let reached = view.join(&known);
        let page =
            RoomPageQuery { before: None, limit: ROOMS, bytes: services.config.load().limits.page_bytes };
        let asked = InboxQuery { page, first: true, from };
        let rooms =
            store.inbox(&caller.user, asked).await.map_err(|error| services.room_reader.refused(&error))?;
        if reached.is_none_or(|reached| reached <= rooms.as_of.time)
            && view.has_joined(&rooms.all)
            && view.has_joined(&rooms.hidden)
        {
            return Ok((rooms, reached));
        }
        known = rooms.all;
        known.extend(rooms.hidden);
        retry::pause_before(deadline, RETRY_PAUSE, Close::Unavailable).await?;
    }
}
