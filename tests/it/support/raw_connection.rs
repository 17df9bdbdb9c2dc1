//! A TCP connection on which a test sends and receives plain bytes, for input that no client library sends.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::PATIENCE;

/// A TCP connection, with a buffer for received bytes.
pub(crate) struct RawConnection {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

/// A WebSocket frame from the server. `opcode` is its kind (RFC 6455, 5.2).
#[derive(Debug)]
pub(crate) struct RawFrame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl RawFrame {
    /// Returns the close code, or `None` if the frame is no close frame.
    pub(crate) fn code(&self) -> Option<u16> {
        let code = self.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
        code.filter(|_| self.opcode == 8)
    }
}

impl RawConnection {
    /// Connects to the server from 127.0.0.1.
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::from(Ipv4Addr::LOCALHOST, address).await
    }

    /// Connects to the server from this loopback address.
    pub(crate) async fn from(own: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((IpAddr::V4(own), 0).into()).unwrap();
        let connected = timeout(PATIENCE, socket.connect(address)).await;
        let stream: TcpStream = connected.expect("the server's address takes connections").unwrap();
        stream.set_nodelay(true).unwrap();
        let (read, write) = stream.into_split();
        Self { read: BufReader::new(read), write }
    }

    /// Sends these bytes. Returns false if the server has closed the connection.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, self.write.write_all(bytes)).await.expect("the server reads in time").is_ok()
    }

    /// Reads until the server closes the connection. Returns all bytes.
    pub(crate) async fn heard_out(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        // A reset also ends the connection.
        let ended = timeout(PATIENCE, self.read.read_to_end(&mut heard)).await;
        assert!(ended.is_ok(), "open after {PATIENCE:?}; heard {}", String::from_utf8_lossy(&heard));
        heard
    }

    /// Reads until the server closes the connection. Returns whether the connection ended without a reset.
    pub(crate) async fn ends_cleanly(&mut self) -> bool {
        let mut rest = Vec::new();
        timeout(PATIENCE, self.read.read_to_end(&mut rest)).await.is_ok_and(|ended| ended.is_ok())
    }

    /// Returns whether the server closes the connection within this time. The server must send no byte before the
    /// close.
    pub(crate) async fn ends_within(&mut self, limit: std::time::Duration) -> bool {
        let mut byte = [0];
        match timeout(limit, self.read.read(&mut byte)).await {
            Ok(Ok(0) | Err(_)) => true,
            Ok(Ok(_)) => panic!("something was said to one who said nothing"),
            Err(_) => false,
        }
    }

    /// Returns whether the server sends an answer before it closes the connection. Reads one byte of the answer.
    pub(crate) async fn is_answered(&mut self) -> bool {
        let byte = timeout(PATIENCE, self.read.read_u8()).await;
        byte.expect("an answer or an end comes in time").is_ok()
    }

    /// Returns the head of the next HTTP answer, without its final empty line.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        let read = async {
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.read.read_u8().await?);
            }
            Ok::<(), std::io::Error>(())
        };
        let read = timeout(PATIENCE, read).await.expect("an answer comes in time");
        let head = String::from_utf8_lossy(&head).trim_end().to_owned();
        assert!(read.is_ok(), "it ended after {head:?}");
        head
    }

    /// Opens a socket and skips its first frame. The handshake must succeed.
    pub(crate) async fn open(address: SocketAddr, target: &str, token: &str) -> Self {
        let mut raw = Self::to(address).await;
        raw.say(handshake(target, &format!("Authorization: Bearer {token}\r\n")).as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let first = raw.next().await.expect("a first frame");
        assert_eq!(first.opcode, 1, "{first:?}");
        raw
    }

    /// Returns the next WebSocket frame, or `None` if the connection ends first.
    pub(crate) async fn next(&mut self) -> Option<RawFrame> {
        let read = async {
            let [first, second] = [self.read.read_u8().await?, self.read.read_u8().await?];
            let bytes = match second {
                126 => self.read.read_u16().await?.into(),
                127 => self.read.read_u64().await?,
                bytes => bytes.into(),
            };
            let mut payload = vec![0; usize::try_from(bytes).unwrap()];
            self.read.read_exact(&mut payload).await?;
            Ok::<_, std::io::Error>(RawFrame { opcode: first & 0xF, payload })
        };
        timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("nothing came within {PATIENCE:?}")).ok()
    }
}

/// Returns the bytes of a handshake with these extra header lines. Each line must contain its line end.
pub(crate) fn handshake(target: &str, headers: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: parlor\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// Returns the bytes of a complete client frame. Its mask is zero, so the payload appears unchanged.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    piece(0x80 | opcode, payload)
}

/// Returns the bytes of a client frame whose first byte (flags and opcode) is given.
pub(crate) fn piece(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ ..126), _) => bytes.push(0x80 | len),
        (_, Ok(len)) => {
            bytes.push(0xFE);
            bytes.extend(len.to_be_bytes());
        }
        _ => {
            bytes.push(0xFF);
            bytes.extend(u64::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}
