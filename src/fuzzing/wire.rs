//! Fuzzes the parser of WebSocket frames with arbitrary bytes of a connection.

use std::io::{self, Cursor, Read, Write};

use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

use super::{CONFIG, assert_listed, frames};
use crate::ws::{incoming, serve};

/// Reads the bytes of a connection after its handshake. Asserts that no message exceeds the size limit, however many
/// fragments it has. Also asserts that invalid bytes lead to a close with a code that `close::CODES` lists.
pub fn wire(data: &[u8]) {
    let most = CONFIG.limits.frame_bytes;
    let mut socket =
        WebSocket::from_raw_socket(Peer(Cursor::new(data)), Role::Server, Some(serve::bounded(most)));
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                assert!(text.len() <= most);
                frames::answered(b'1', &text);
            }
            Ok(Message::Binary(bytes)) => assert!(bytes.len() <= most),
            Ok(Message::Ping(bytes) | Message::Pong(bytes)) => assert!(bytes.len() <= 125),
            Ok(Message::Close(_) | Message::Frame(_)) => {}
            Err(error) => return incoming::close_for(&error).map_or((), assert_listed),
        }
    }
}

/// A peer that sends the fuzzer's input and then ends the connection. It accepts all bytes that the server writes.
struct Peer<'a>(Cursor<&'a [u8]>);

impl Read for Peer<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
