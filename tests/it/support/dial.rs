//! Opens sockets. A test can set each part of the handshake that a client chooses.

mod places;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};

use super::{Client, PATIENCE, transcript::Transcript};

/// A handshake that is not sent yet. At first it has no token.
pub(crate) struct Dial {
    address: SocketAddr,
    target: String,
    who: String,
    headers: Vec<(HeaderName, String)>,
    receive_buffer: Option<u32>,
    own: Ipv4Addr,
    transcript: Transcript,
}

impl Dial {
    /// Prepares a handshake for a target: a path with its query.
    pub(crate) fn new(address: SocketAddr, target: &str, transcript: Transcript) -> Self {
        let who = "socket".to_owned();
        Self {
            address,
            target: target.to_owned(),
            who,
            headers: Vec::new(),
            receive_buffer: None,
            own: Ipv4Addr::LOCALHOST,
            transcript,
        }
    }

    /// Sets the socket's name in the transcript.
    pub(crate) fn called(mut self, who: impl Into<String>) -> Self {
        self.who = who.into();
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((HeaderName::from_static(name), value.into()));
        self
    }

    /// Sets `Sec-WebSocket-Protocol: Bearer, <token>`.
    pub(crate) fn token(self, token: &str) -> Self {
        self.protocols(&format!("Bearer, {token}"))
    }

    pub(crate) fn protocols(self, protocols: &str) -> Self {
        self.header("sec-websocket-protocol", protocols)
    }

    /// Sets `Authorization: Bearer <token>`.
    pub(crate) fn authorization(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Sets a small receive buffer in the kernel, so that the server soon notices a client that doesn't read.
    pub(crate) fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Connects from this loopback address.
    pub(crate) fn from(mut self, own: [u8; 4]) -> Self {
        self.own = own.into();
        self
    }

    /// Sends the handshake and returns the client. The handshake must succeed.
    pub(crate) async fn open(self) -> Client {
        let (who, target, transcript) = (self.who.clone(), self.target.clone(), self.transcript.clone());
        match self.handshake().await {
            Ok((socket, protocol)) => Client::new(who, protocol, socket, transcript),
            Err(error) => panic!("{who}: the handshake of {target} failed: {error}"),
        }
    }

    /// Sends the handshake, which the server must refuse. Returns the HTTP status of the refusal.
    pub(crate) async fn rejected(self) -> u16 {
        let target = self.target.clone();
        match self.handshake().await {
            Ok(_) => panic!("{target}: expected a status, got an upgrade"),
            Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{target}: expected a status, got {error}"),
        }
    }

    /// Sends the handshake, and asserts that the server closes the socket after the upgrade. Returns the close code.
    /// The close must have a reason, and no data frame may come before it.
    pub(crate) async fn refused(self) -> u16 {
        let (code, reason) = self.open().await.closed().await;
        assert!(!reason.is_empty(), "{code} came without a reason");
        code
    }

    async fn handshake(
        self,
    ) -> Result<(tokio_tungstenite::WebSocketStream<TcpStream>, Option<String>), tungstenite::Error> {
        let mut request = format!("ws://{}{}", self.address, self.target).into_client_request()?;
        for (name, value) in &self.headers {
            request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        }
        self.transcript.note(&self.who, "->", &format!("GET {}", self.target));
        let tcp = TcpSocket::new_v4().unwrap();
        if self.own != Ipv4Addr::LOCALHOST {
            tcp.bind((IpAddr::V4(self.own), 0).into()).unwrap();
        }
        if let Some(bytes) = self.receive_buffer {
            tcp.set_recv_buffer_size(bytes).unwrap();
        }
        let made = async { client_async(request, tcp.connect(self.address).await?).await };
        let Ok(made) = timeout(PATIENCE, made).await else {
            panic!("{}: no answer to the handshake within {PATIENCE:?}", self.who)
        };
        let (socket, response) = made.inspect_err(|error| {
            self.transcript.note(&self.who, "<-", &error.to_string());
        })?;
        let protocols = response.headers().get_all("sec-websocket-protocol").iter();
        let protocols: Vec<_> = protocols.map(|value| value.to_str().unwrap()).collect();
        Ok((socket, (!protocols.is_empty()).then(|| protocols.join(" and "))))
    }
}

/// Encodes a query value: each byte that is no ASCII letter or digit becomes `%XX`.
pub(crate) fn encoded(value: &str) -> String {
    value.bytes().fold(String::new(), |mut query, byte| {
        if byte.is_ascii_alphanumeric() {
            query.push(char::from(byte));
        } else {
            let _ = write!(query, "%{byte:02X}");
        }
        query
    })
}
