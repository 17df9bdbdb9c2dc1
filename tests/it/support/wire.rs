//! A connection as it is on the wire: for what no client would send.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::PATIENCE;

/// Bytes out and bytes in.
pub(crate) struct Wire {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

/// A frame of the server's, of the kind that its number says (RFC 6455, 5.2).
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Heard {
    /// The code of a close frame.
    pub(crate) fn code(&self) -> Option<u16> {
        let code = self.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
        code.filter(|_| self.opcode == 8)
    }
}

impl Wire {
    /// Connects from loopback's first address.
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::from(Ipv4Addr::LOCALHOST, address).await
    }

    /// Connects from this address of loopback.
    pub(crate) async fn from(own: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((IpAddr::V4(own), 0).into()).unwrap();
        let connected = timeout(PATIENCE, socket.connect(address)).await;
        let stream: TcpStream = connected.expect("the server's address takes connections").unwrap();
        stream.set_nodelay(true).unwrap();
        let (read, write) = stream.into_split();
        Self { read: BufReader::new(read), write }
    }

    /// Sends these bytes; false where nobody takes them any more.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, self.write.write_all(bytes)).await.expect("the server reads in time").is_ok()
    }

    /// All that comes until the server closes the connection.
    pub(crate) async fn heard_out(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        // A reset is an end like any other.
        let ended = timeout(PATIENCE, self.read.read_to_end(&mut heard)).await;
        assert!(ended.is_ok(), "open after {PATIENCE:?}; heard {}", String::from_utf8_lossy(&heard));
        heard
    }

    /// Reads until the server closes the connection, and returns whether it did so without a reset.
    pub(crate) async fn ends_cleanly(&mut self) -> bool {
        let mut rest = Vec::new();
        timeout(PATIENCE, self.read.read_to_end(&mut rest)).await.is_ok_and(|ended| ended.is_ok())
    }

    /// Whether the server has closed it, or does so within the time.
    pub(crate) async fn ends_within(&mut self, limit: std::time::Duration) -> bool {
        let mut byte = [0];
        match timeout(limit, self.read.read(&mut byte)).await {
            Ok(Ok(0) | Err(_)) => true,
            Ok(Ok(_)) => panic!("something was said to one who said nothing"),
            Err(_) => false,
        }
    }

    /// Whether an answer comes before the connection ends.
    pub(crate) async fn is_answered(&mut self) -> bool {
        let byte = timeout(PATIENCE, self.read.read_u8()).await;
        byte.expect("an answer or an end comes in time").is_ok()
    }

    /// The head of the next answer, without the empty line at its end.
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

    /// Makes the handshake, which must go well, and leaves the first frame aside.
    pub(crate) async fn open(address: SocketAddr, target: &str, token: &str) -> Self {
        let mut wire = Self::to(address).await;
        wire.say(handshake(target, &format!("Authorization: Bearer {token}\r\n")).as_bytes()).await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let first = wire.next().await.expect("a first frame");
        assert_eq!(first.opcode, 1, "{first:?}");
        wire
    }

    /// The next frame; none where the connection ends without one.
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        let read = async {
            let [first, second] = [self.read.read_u8().await?, self.read.read_u8().await?];
            let bytes = match second {
                126 => self.read.read_u16().await?.into(),
                127 => self.read.read_u64().await?,
                bytes => bytes.into(),
            };
            let mut payload = vec![0; usize::try_from(bytes).unwrap()];
            self.read.read_exact(&mut payload).await?;
            Ok::<_, std::io::Error>(Heard { opcode: first & 0xF, payload })
        };
        timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("nothing came within {PATIENCE:?}")).ok()
    }
}

/// A handshake with more header lines, each with its end.
pub(crate) fn handshake(target: &str, headers: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: parlor\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// A client's frame: masked by nothing but zeros, so that it stands there as it is.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    piece(0x80 | opcode, payload)
}

/// A frame whose first byte is this one: bits and opcode.
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
