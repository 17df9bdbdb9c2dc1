//! A TCP proxy between a server and its database, or between clients and a server. A test can cut or hold its
//! connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::mongo::Database;

/// The state of all connections of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Bytes pass in both directions.
    Open,
    /// No byte passes in either direction. Both connections stay open, so neither end notices.
    Held,
    /// No byte passes from the near end (the connecting side) to the far end (the database or the server).
    HeldThere,
    /// No byte passes back from the far end to the near end.
    HeldBack,
    /// All connections are closed, and each new connection is closed immediately.
    Cut,
}

impl State {
    /// All states except `Open`.
    pub(crate) const FAULTS: [Self; 4] = [Self::Cut, Self::Held, Self::HeldThere, Self::HeldBack];
}

/// The direction in which [`pump`] carries bytes.
#[derive(Clone, Copy)]
enum Way {
    There,
    Back,
}

impl Way {
    fn is_held(self, state: State) -> bool {
        matches!(
            (self, state),
            (_, State::Held) | (Self::There, State::HeldThere) | (Self::Back, State::HeldBack)
        )
    }
}

/// A link, which is open at first.
pub(crate) struct Link {
    state: watch::Sender<State>,
    connections: Connections,
    /// The URI of the database through this link.
    pub(crate) uri: String,
    /// The address of the link's near end, to which clients connect.
    pub(crate) address: SocketAddr,
}

/// Bytes that stand in each command that opens a change stream.
const STREAM: &[u8] = b"$changeStream";

/// The change streams that hang. The connection of a hanging stream stays open, and no byte passes on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streams {
    /// No stream hangs.
    Pass,
    /// The streams that are open now hang. Streams that are opened later work.
    OpenOnesHang,
    /// All streams hang, also streams that are opened later.
    AllHang,
}

/// All connections that a link has accepted.
#[derive(Clone)]
struct Connections(Arc<Mutex<Known>>);

struct Known {
    all: Vec<Arc<Connection>>,
    streams: Streams,
}

/// One accepted connection.
struct Connection {
    /// Whether a change stream was opened on this connection.
    streams: AtomicBool,
    hangs: watch::Sender<bool>,
}

impl Connections {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Known { all: Vec::new(), streams: Streams::Pass })))
    }

    fn add(&self) -> Arc<Connection> {
        let connection =
            Arc::new(Connection { streams: AtomicBool::new(false), hangs: watch::Sender::new(false) });
        self.0.lock().unwrap().all.push(connection.clone());
        connection
    }

    fn set(&self, streams: Streams) {
        let mut known = self.0.lock().unwrap();
        known.streams = streams;
        for connection in known.all.iter().filter(|one| one.streams.load(Ordering::SeqCst)) {
            connection.hangs.send_replace(streams != Streams::Pass);
        }
    }

    /// Records that a connection opens a change stream. With [`Streams::AllHang`], the connection hangs.
    fn opens_stream(&self, connection: &Connection) {
        let known = self.0.lock().unwrap();
        connection.streams.store(true, Ordering::SeqCst);
        if known.streams == Streams::AllHang {
            connection.hangs.send_replace(true);
        }
    }
}

impl Link {
    /// Opens a link to the database server that all tests share.
    pub(crate) async fn to_the_database() -> Self {
        Self::to(Database::uri()).await
    }

    /// Opens a link to a test's own `mongod`, by its host and port. The link's URI has `appName=parlor`, so that
    /// `Mongod::fail` with the name `parlor` hits the server that uses this link.
    pub(crate) async fn to_one(host: &str) -> Self {
        Self::to(&format!("mongodb://{host}/?appName=parlor")).await
    }

    /// Opens a link to a Parlor server. Clients connect to the link's address instead of the server's address.
    pub(crate) async fn to_a_server(server: SocketAddr) -> Self {
        Self::to(&format!("http://{server}")).await
    }

    /// Opens a link to the first host of a connection string. The link's URI asks for a direct connection. Otherwise
    /// the replica set would send the members' own addresses to the driver, and the driver would bypass the link.
    async fn to(uri: &str) -> Self {
        let hosts = uri.split_once("://").expect("a connection string").1;
        let (login, hosts) = hosts.split('/').next().unwrap().rsplit_once('@').unwrap_or(("", hosts));
        let host = hosts.split([',', '/', '?']).next().unwrap().to_owned();
        let host = if host.contains(':') { host } else { format!("{host}:27017") };

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = listener.local_addr().unwrap();
        let (state, _) = watch::channel(State::Open);
        let connections = Connections::new();
        tokio::spawn(accept(listener, host, state.clone(), connections.clone()));
        Self { state, connections, uri: Self::direct(uri, login, near), address: near }
    }

    fn direct(uri: &str, login: &str, near: SocketAddr) -> String {
        let at = if login.is_empty() { "" } else { "@" };
        let options = uri.split_once('?').map_or("", |(_, options)| options);
        let kept = options.split('&').filter(|option| {
            let option = option.to_ascii_lowercase();
            !option.is_empty()
                && !option.starts_with("replicaset=")
                && !option.starts_with("directconnection=")
        });
        let options = kept.fold("directConnection=true".to_owned(), |all, option| format!("{all}&{option}"));
        format!("mongodb://{login}{at}{near}/?{options}")
    }

    pub(crate) fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    /// Makes the connections of change streams hang. Other connections work.
    pub(crate) fn set_streams(&self, streams: Streams) {
        self.connections.set(streams);
    }
}

async fn accept(listener: TcpListener, host: String, state: watch::Sender<State>, connections: Connections) {
    while let Ok((near, _)) = listener.accept().await {
        if *state.borrow() == State::Cut {
            continue;
        }
        let Ok(far) = TcpStream::connect(&host).await else { continue };
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        let connection = connections.add();
        let hangs = (connection.hangs.subscribe(), connection.hangs.subscribe());
        let known = connections.clone();
        let there = move |bytes: &[u8]| {
            if bytes.windows(STREAM.len()).any(|window| window == STREAM) {
                known.opens_stream(&connection);
            }
        };
        tokio::spawn(pump(near_in, far_out, Way::There, state.subscribe(), hangs.0, there));
        tokio::spawn(pump(far_in, near_out, Way::Back, state.subscribe(), hangs.1, |_| {}));
    }
}

/// Carries bytes in one direction until the link is cut or one end is closed.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    mut state: watch::Receiver<State>,
    mut hangs: watch::Receiver<bool>,
    saw: impl Fn(&[u8]),
) {
    let mut bytes = vec![0; 65536];
    loop {
        let Ok(now) = state.wait_for(|state| !way.is_held(*state)).await.map(|state| *state) else { return };
        if now == State::Cut {
            return;
        }
        tokio::select! {
            read = from.read(&mut bytes) => {
                let Ok(count @ 1..) = read else { return };
                saw(&bytes[..count]);
                if hangs.wait_for(|hangs| !hangs).await.is_err() {
                    return;
                }
                // While the link is held, bytes that were read before the hold also wait here.
                if state.wait_for(|state| !way.is_held(*state)).await.is_err() || *state.borrow() == State::Cut {
                    return;
                }
                if to.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
            _ = state.changed() => {}
        }
    }
}
