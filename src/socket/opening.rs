//! From an admission to the first frame: room, membership, the place in the hub, the history.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bson::Timestamp;
use handlers::{HistoryMessage, RoomId, UserId};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::admission::{Admission, Wanted};
use crate::auth;
use crate::close::Close;
use crate::config::Direct;
use crate::hub::Joined;
use crate::outbox::Outbox;
use crate::room::{json, status};
use crate::runtime::Caller;
use crate::server::{Server, Stay};
use crate::store::{NewMember, Snapshot, StoreError};
use crate::users::Seat;

/// The pause before a snapshot is read again that is older than what the hub has heard of.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A socket that is in its room.
pub(super) struct Opened {
    pub(super) caller: Caller,
    /// The place in the hub.
    pub(super) stay: Stay,
    pub(super) expires_at: SystemTime,
    /// The first frame.
    pub(super) history: Utf8Bytes,
    /// What was committed up to then is in it.
    pub(super) since: Option<Timestamp>,
    /// What the caller has read once it has the history, where that is news.
    pub(super) unread: Option<i64>,
}

/// Finds the room, joins it and reads its history.
pub(super) async fn open(
    server: &Arc<Server>,
    outbox: &Arc<Outbox>,
    admission: Admission,
) -> Result<Opened, Close> {
    let Admission { caller: auth::Caller { user, email, expires_at }, room } = admission;
    let found = match &room {
        Wanted::Id(room) => Some(*room),
        Wanted::With(other) => {
            let found = server.store.direct_room(&user, other).await;
            found.map_err(|error| refused(server, &error))?
        }
    };
    if found.is_none() && server.config.load().rooms.direct == Direct::Api {
        return Err(Close::NoRoom);
    }
    let seat = server.users.enter(&user, server.config.load().limits.sockets_per_user).ok_or_else(|| {
        server.metrics.limit("sockets_per_user");
        Close::TooManySockets
    })?;
    let room = match (found, room) {
        (Some(room), _) | (None, Wanted::Id(room)) => room,
        (None, Wanted::With(other)) => make_direct(server, &seat, &user, email.clone(), other).await?,
    };
    let (joined, stay) = server.join(room, outbox);
    let mut snapshot = read(server, room, joined).await?;
    let Some(member) = snapshot.members.iter_mut().find(|member| member.user == user) else {
        let exists = server.store.room_exists(room).await.map_err(|error| refused(server, &error))?;
        return Err(if exists { Close::NotMember } else { Close::NoRoom });
    };
    if let Some(email) = email
        && member.email.as_ref() != Some(&email)
    {
        member.email = Some(email.clone());
        keep_email(server, room, &user, email);
    }
    let email = member.email.clone();
    Ok(Opened {
        history: history(&snapshot),
        since: snapshot.complete.then_some(snapshot.time),
        unread: snapshot.unread(&user),
        caller: Caller { user, email, room, seat },
        stay,
        expires_at,
    })
}

/// Makes the room of two of whom one connects. Only the caller's token vouches for anyone: the other becomes a
/// member without an address.
async fn make_direct(
    server: &Server,
    seat: &Seat,
    caller: &UserId,
    email: Option<String>,
    other: UserId,
) -> Result<RoomId, Close> {
    seat.room(&server.runtime.rates()).map_err(|_| {
        server.metrics.limit("rooms_per_minute");
        Close::TooManyRooms
    })?;
    let caller = NewMember { user_id: caller.clone(), email };
    let made = server.store.make_room(&[caller, NewMember { user_id: other, email: None }]).await;
    Ok(made.map_err(|error| refused(server, &error))?.id)
}

/// Reads the room, not older than what the hub has heard, and gives its state to the hub where that is wanted.
pub(crate) async fn read(server: &Arc<Server>, room: RoomId, joined: Joined) -> Result<Snapshot, Close> {
    let deadline = Instant::now() + server.config.load().mongodb.operation;
    let (view, members) = loop {
        let (view, members) = server.store.members(room).await.map_err(|error| refused(server, &error))?;
        if joined.reached.is_none_or(|reached| reached <= view.time()) {
            break (view, members);
        }
        if Instant::now() > deadline {
            return Err(Close::Unavailable);
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    };
    let time = view.time();
    let read = server.store.snapshot(room, view, members.clone(), joined.unread.is_some()).await;
    let snapshot = read.unwrap_or_else(|error| {
        server.metrics.fault("history");
        tracing::error!(%error, %room, "a history can't be read; the socket starts with none");
        Snapshot { time, members, messages: Vec::new(), waiting: Vec::new(), complete: false }
    });
    if let Some(newest) = snapshot.messages.first() {
        server.store.numbers().saw(room, newest.id.get());
    }
    if let Some(visit) = joined.unread {
        server.hub.opened(room, visit, &snapshot);
    }
    Ok(snapshot)
}

/// Room or membership can't be known.
fn refused(server: &Server, error: &StoreError) -> Close {
    server.metrics.fault("connect");
    tracing::error!(%error, "a connect failed");
    match error {
        StoreError::Unreachable(_) | StoreError::Unknown(_) | StoreError::Full => Close::Unavailable,
        StoreError::Fault(_) => Close::Internal,
    }
}

/// The token's address becomes the member's. The socket needn't wait: its own history shows it already.
fn keep_email(server: &Arc<Server>, room: RoomId, user: &UserId, email: String) {
    let (store, metrics, user) = (server.store.clone(), server.metrics.clone(), user.clone());
    server.tracker.spawn(async move {
        if let Err(error) = store.set_email(room, &user, &email).await {
            metrics.fault("email");
            tracing::warn!(%error, %room, "a member's address could not be kept; the next connect tries again");
        }
    });
}

fn history(snapshot: &Snapshot) -> Utf8Bytes {
    let email = |user: &UserId| snapshot.members.iter().find(|member| member.user == *user)?.email.as_deref();
    let messages: Vec<_> = snapshot
        .messages
        .iter()
        .map(|message| HistoryMessage {
            message_id: message.id,
            text: &message.text,
            sender_id: &message.sender,
            sender_email: email(&message.sender),
            status: status(snapshot.others(&message.sender), message.id),
            created_at: message.created_at,
            updated_at: message.updated_at,
        })
        .collect();
    json(&messages)
}

/// Writes one text frame straight to the connection, before anything else was written by the WebSocket: its
/// header (RFC 6455, 5.2: final, text, not masked, the length in 7, 16 or 64 bits) and its text.
pub(super) async fn write_text(io: &mut (impl AsyncWrite + Unpin), text: Utf8Bytes) -> std::io::Result<()> {
    let mut frame = Vec::with_capacity(text.len() + 10);
    frame.push(0x81);
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(len), _) if len < 126 => frame.push(len),
        (_, Ok(len)) => {
            frame.push(126);
            frame.extend(len.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((text.len() as u64).to_be_bytes());
        }
    }
    frame.extend(text.as_bytes());
    io.write_all(&frame).await?;
    io.flush().await
}
