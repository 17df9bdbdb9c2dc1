//! Serves one connection: creates its outbox (the queue of frames for the client), runs its session, and closes it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use salvo::hyper::upgrade::Upgraded;
use salvo::rt::tokio::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::connection::{CountedStream, WebSocket};
use super::handshake::{Admission, SocketTarget};
use super::services::SocketServices;
use super::session::{SessionEnd, SocketTask};
use super::write_pace::WritePace;
use super::{close, open};
use crate::auth::refused_clients::ConnectingClient;
use crate::limits::permits::Permit;
use crate::protocol::close::Close;
use crate::realtime::outbox::{Outbox, OutboxBounds};

/// The size of one read, and of the buffer that each idle socket keeps. A usual chat frame fits into one read. A longer
/// frame takes more reads. The WebSocket library writes zeros into the whole buffer before every read. With the
/// library's default size of 128 KiB, 1,000 idle sockets used 135 MB.
const READ_BYTES: usize = 1024;

/// The size of the write buffer. The socket collects frames, and writes them when they reach this size or when no more
/// frames wait.
const WRITE_BYTES: usize = 4 * 1024;

/// Serves one connection from its upgrade to its end.
pub(crate) async fn serve(
    services: Arc<SocketServices>,
    io: Upgraded,
    admission: Result<Admission, Close>,
    place: Permit,
    client: ConnectingClient,
) {
    let (frame_bytes, fragments, bounds) = {
        let limits = &services.config.load().limits;
        (limits.frame_bytes, limits.message_fragments, OutboxBounds::of(limits))
    };
    let config = Some(bounded(frame_bytes));
    let line = CountedStream::new(TokioIo::new(io), fragments);
    // Boxed, like each future that a socket awaits only once or rarely. Otherwise the memory of the future would belong
    // to the socket's task until the socket ends.
    let mut ws = Box::pin(WebSocketStream::from_raw_socket(line, Role::Server, config)).await;
    let outbox = Arc::new(match &admission {
        Ok(Admission { room: SocketTarget::All, caller, .. }) => {
            Outbox::for_inbox(bounds, caller.user.clone(), Arc::default())
        }
        Ok(Admission { caller, options, .. }) if options.since.is_some() => {
            Outbox::for_event_stream(bounds, caller.user.clone())
        }
        Ok(Admission { caller, .. }) => Outbox::new(bounds, Some(caller.user.clone())),
        Err(_) => Outbox::new(bounds, None),
    });
    // The outbox is registered before the first read from the database. So a request that closes all sockets of the
    // user also finds this socket.
    let user = admission.as_ref().ok().map(|admission| &admission.caller.user);
    let registered = services.outboxes.register(&outbox, user);
    let end = match admission {
        Ok(admission) => Box::pin(run_session(&services, &mut ws, &outbox, admission, client)).await,
        Err(close) => {
            // A refused connection gives its permit back before its close frame is sent.
            drop(place);
            services.refusals.record(&client, &services.config.load(), close);
            return Box::pin(close::close(ws, close)).await;
        }
    };
    drop(registered);
    if let SessionEnd::Close(close) = end {
        Box::pin(close::close(ws, outbox.closes_by(close))).await;
    }
}

/// Returns the configuration of a WebSocket. `frame_bytes` is the maximum size of a message, also if the message has
/// several fragments.
pub(crate) fn bounded(frame_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_message_size(Some(frame_bytes))
        .max_frame_size(Some(frame_bytes))
}

/// Opens the socket and serves the client. Returns the reason why the socket must end.
async fn run_session(
    services: &Arc<SocketServices>,
    ws: &mut WebSocket,
    outbox: &Arc<Outbox>,
    admission: Admission,
    client: ConnectingClient,
) -> SessionEnd {
    // The outbox is already registered. So if an erasure of the user begins after this check, the erasure closes the
    // socket.
    if services.store.erasing().contains(&admission.caller.user) {
        services.refusals.record(&client, &services.config.load(), Close::Erased);
        return SessionEnd::Close(Close::Erased);
    }
    // Boxed, so that the memory for opening is freed before the socket starts to serve the client.
    let opened = Box::pin(open::open(services, outbox, admission)).await;
    let opened = match opened {
        Ok(opened) => opened,
        Err(close) => {
            let close = outbox.closes_by(close);
            services.refusals.record(&client, &services.config.load(), close);
            return SessionEnd::Close(close);
        }
    };
    services.metrics.connect("open");
    let _open = services.metrics.socket();
    let mut socket = SocketTask {
        ws,
        services,
        outbox,
        _presence: services.present.enter(&opened.caller.user),
        caller: opened.caller,
        view: opened.view,
        last_received: Instant::now(),
        pinged: None,
        taken: VecDeque::new(),
        written: Vec::new(),
        request: None,
        is_acknowledged: false,
        pace: WritePace::default(),
        refusals: VecDeque::new(),
    };
    let ended = socket.run(opened.first_frame).await;
    match ended {
        Ok(never) => match never {},
        Err(end) => end,
    }
}
