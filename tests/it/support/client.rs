//! A client with one WebSocket.

mod ending;

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::frames::{chat, error, matches};
use super::{PATIENCE, transcript::Transcript};

pub(crate) use ending::End;

/// A client that sends and receives frames one by one. It records all its frames in the transcript.
pub(crate) struct Client {
    who: String,
    /// The subprotocol in the server's answer to the handshake.
    pub(crate) protocol: Option<String>,
    write: SplitSink<WebSocketStream<TcpStream>, Message>,
    read: SplitStream<WebSocketStream<TcpStream>>,
    transcript: Transcript,
    fences: usize,
}

/// One result of a read from a socket: a text frame, a close frame, or the loss of the connection.
enum RawFrame {
    Text(String),
    Closed(u16, String),
    Lost(String),
}

impl Client {
    pub(crate) fn new(
        who: String,
        protocol: Option<String>,
        socket: WebSocketStream<TcpStream>,
        transcript: Transcript,
    ) -> Self {
        let (write, read) = socket.split();
        Self { who, protocol, write, read, transcript, fences: 0 }
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    /// Sends a frame to a socket that the server may have closed. Returns whether the write succeeded.
    pub(crate) async fn try_send(&mut self, frame: Value) -> bool {
        self.transcript.note(&self.who, "->", &frame.to_string());
        self.write.send(Message::text(frame.to_string())).await.is_ok()
    }

    pub(crate) async fn send_text(&mut self, frame: &str) {
        self.transcript.note(&self.who, "->", frame);
        self.write.send(Message::text(frame)).await.unwrap();
    }

    pub(crate) async fn send_binary(&mut self, frame: &[u8]) {
        self.transcript.note(&self.who, "->", &format!("binary {frame:?}"));
        self.write.send(Message::binary(frame.to_vec())).await.unwrap();
    }

    /// Sends one text message as several WebSocket frames. Stops at the first write error, because the server may
    /// refuse the message early.
    pub(crate) async fn send_fragments(&mut self, parts: &[&str]) {
        for (at, part) in parts.iter().enumerate() {
            let code = if at == 0 { Data::Text } else { Data::Continue };
            let frame = Frame::message((*part).to_owned(), OpCode::Data(code), at + 1 == parts.len());
            self.transcript.note(&self.who, "->", &format!("fragment {}: {part}", at + 1));
            if self.write.send(Message::Frame(frame)).await.is_err() {
                return;
            }
        }
    }

    /// Sends the message `text` to the room.
    pub(crate) async fn say(&mut self, text: &str) {
        self.send(json!({"action": "send", "message": text})).await;
    }

    /// Sends `text` and expects its `chat_message` as the very next frame. No other member may have a socket, because
    /// the receipts of that member would cause more events.
    pub(crate) async fn say_alone(&mut self, id: i64, sender: impl Into<Value>, text: &str) -> Value {
        self.say(text).await;
        self.expect(chat(id, sender, text)).await
    }

    /// Sends 60 messages, one after another. Their ids begin with `first`. Returns the median time from a send to its
    /// `chat_message` event.
    pub(crate) async fn median_send_time(&mut self, first: i64, sender: i64) -> Duration {
        let mut times = Vec::new();
        for id in first..first + 60 {
            let began = Instant::now();
            self.say("on time").await;
            self.until(chat(id, sender, "on time")).await;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        times[times.len() / 2]
    }

    /// Closes the socket and waits for the server's close frame.
    pub(crate) async fn leave(mut self) {
        self.transcript.note(&self.who, "->", "close");
        self.write.send(Message::Close(None)).await.unwrap();
        while let RawFrame::Text(_) = self.hear().await {}
    }

    async fn hear(&mut self) -> RawFrame {
        self.hear_within(PATIENCE).await
    }

    async fn hear_within(&mut self, limit: Duration) -> RawFrame {
        loop {
            let Ok(message) = timeout(limit, self.read.next()).await else {
                panic!("{}: nothing came within {limit:?}", self.who)
            };
            let heard = match message {
                Some(Ok(Message::Text(text))) => RawFrame::Text(text.to_string()),
                Some(Ok(Message::Binary(_))) => panic!("{}: a binary frame came", self.who),
                Some(Ok(Message::Close(Some(close)))) => {
                    RawFrame::Closed(close.code.into(), close.reason.to_string())
                }
                Some(Ok(Message::Close(None))) => RawFrame::Closed(1005, String::new()),
                Some(Ok(_)) => continue,
                Some(Err(error)) => RawFrame::Lost(error.to_string()),
                None => RawFrame::Lost("the stream ended".to_owned()),
            };
            if matches!(heard, RawFrame::Closed(..)) {
                // Sends the client's own close frame, which the library has queued. The server may wait for this frame.
                let _ = self.write.flush().await;
            }
            let note = match &heard {
                RawFrame::Text(text) => text.clone(),
                RawFrame::Closed(code, reason) => format!("closed with {code} {reason}"),
                RawFrame::Lost(why) => format!("lost without a close frame: {why}"),
            };
            self.transcript.note(&self.who, "<-", &note);
            return heard;
        }
    }

    /// Returns the next frame.
    pub(crate) async fn next(&mut self) -> Value {
        match self.hear().await {
            RawFrame::Text(text) => serde_json::from_str(&text).expect("every frame is JSON"),
            RawFrame::Closed(code, reason) => panic!("{}: closed with {code} {reason}", self.who),
            RawFrame::Lost(why) => panic!("{}: lost without a close frame: {why}", self.who),
        }
    }

    /// Returns the next `count` frames.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<Value> {
        let mut frames = Vec::with_capacity(count);
        for _ in 0..count {
            frames.push(self.next().await);
        }
        frames
    }

    /// Returns the frames up to and including the first one that matches `last`.
    pub(crate) async fn until(&mut self, last: Value) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            frames.push(self.next().await);
            if frames.last().is_some_and(|frame| matches(&last, frame)) {
                return frames;
            }
        }
    }

    /// Skips frames until an event of this kind, and returns the event.
    pub(crate) async fn until_kind(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// Returns the messages of a Level 1 socket's first frame, which is the history.
    pub(crate) async fn history(&mut self) -> Vec<Value> {
        match self.next().await {
            Value::Array(messages) => messages,
            other => panic!("{}: expected the history, got {other}", self.who),
        }
    }

    /// Reads the first frame of a new socket. If the server refused the socket, returns the close code.
    pub(crate) async fn refused_or_history(&mut self) -> Option<u16> {
        match self.hear().await {
            RawFrame::Text(_) => None,
            RawFrame::Closed(code, _) => Some(code),
            RawFrame::Lost(why) => panic!("{}: lost without a close frame: {why}", self.who),
        }
    }

    /// Asserts that the very next frame is the expected one, and returns it. The expected frame may contain
    /// placeholders, which [`matches`] describes.
    pub(crate) async fn expect(&mut self, expected: Value) -> Value {
        let frame = self.next().await;
        assert!(matches(&expected, &frame), "{}: expected\n  {expected}\ngot\n  {frame}", self.who);
        frame
    }

    /// Asserts that the very next frames are the expected ones.
    pub(crate) async fn expect_all(&mut self, expected: &[Value]) {
        for frame in expected {
            self.expect(frame.clone()).await;
        }
    }

    /// Asserts that no frame is waiting to be read: sends an unknown action, whose error must be the next frame.
    pub(crate) async fn quiet(&mut self) {
        self.fences += 1;
        let fence = format!("fence {}", self.fences);
        self.send(json!({"action": fence})).await;
        self.expect(error("unknown_action", Some(&fence))).await;
    }

    /// Waits for the time `wait`, which the server sent as `retry_after_ms` in an error. Asserts that no frame arrives
    /// during this time.
    pub(crate) async fn wait_before_retry(&mut self, wait: Duration) {
        if let Ok(message) = timeout(wait, self.read.next()).await {
            panic!("{}: expected nothing within {wait:?}, got {message:?}", self.who);
        }
    }

    /// Asserts that the server closes the socket without a further frame. Returns the close code and reason.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        match self.hear().await {
            RawFrame::Text(text) => panic!("{}: expected a close, got {text}", self.who),
            RawFrame::Closed(code, reason) => (code, reason),
            RawFrame::Lost(why) => panic!("{}: lost without a close frame: {why}", self.who),
        }
    }

    /// Skips frames until the server closes the socket, and returns the close code.
    pub(crate) async fn closed_in_the_end(&mut self) -> u16 {
        loop {
            match self.hear().await {
                RawFrame::Text(_) => {}
                RawFrame::Closed(code, _) => return code,
                RawFrame::Lost(why) => panic!("{}: lost without a close frame: {why}", self.who),
            }
        }
    }

    /// Sends a frame and reads concurrently, because the server may refuse a long frame before it has read all of it.
    /// Returns the close code and reason.
    pub(crate) async fn closed_while_sending(&mut self, frame: String) -> (u16, String) {
        self.transcript.note(&self.who, "->", &frame);
        let write = &mut self.write;
        let read = &mut self.read;
        let sent = async { write.send(Message::text(frame)).await.is_ok() };
        let (_, message) = tokio::join!(timeout(PATIENCE, sent), timeout(PATIENCE, read.next()));
        match message {
            Ok(Some(Ok(Message::Close(Some(close))))) => {
                self.transcript.note(&self.who, "<-", &format!("closed with {}", close.code));
                (close.code.into(), close.reason.to_string())
            }
            other => panic!("{}: expected a close, got {other:?}", self.who),
        }
    }
}
