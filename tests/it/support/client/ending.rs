//! Methods of a client whose socket may close or break at any moment, because the test stops or crashes a server.

use futures_util::SinkExt;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::{Client, PATIENCE, RawFrame};

/// How a socket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The server sent a close frame with this code.
    Closed(u16),
    /// The connection ended without a close frame.
    Lost,
}

impl Client {
    /// Returns the next frame, or the end of the socket.
    pub(crate) async fn next_or_end(&mut self) -> Result<Value, End> {
        match self.hear().await {
            RawFrame::Text(text) => Ok(serde_json::from_str(&text).expect("every frame is JSON")),
            RawFrame::Closed(code, _) => Err(End::Closed(code)),
            RawFrame::Lost(_) => Err(End::Lost),
        }
    }

    /// Returns the next frame or the end of the socket. Waits longer than [`Self::next_or_end`], because a socket
    /// receives nothing during an outage.
    pub(crate) async fn next_in_the_end(&mut self) -> Result<Value, End> {
        match self.hear_within(8 * PATIENCE).await {
            RawFrame::Text(text) => Ok(serde_json::from_str(&text).expect("every frame is JSON")),
            RawFrame::Closed(code, _) => Err(End::Closed(code)),
            RawFrame::Lost(_) => Err(End::Lost),
        }
    }

    /// Skips frames until the server's close frame, and returns its code and reason.
    pub(crate) async fn end(&mut self) -> (u16, String) {
        loop {
            match self.hear_within(8 * PATIENCE).await {
                RawFrame::Text(_) => {}
                RawFrame::Closed(code, reason) => return (code, reason),
                RawFrame::Lost(how) => panic!("the socket was lost: {how}"),
            }
        }
    }

    /// Reads until the socket ends. Returns all frames, and how the socket ended.
    pub(crate) async fn hear_out(&mut self) -> (Vec<Value>, End) {
        let mut frames = Vec::new();
        loop {
            match self.next_or_end().await {
                Ok(frame) => frames.push(frame),
                Err(end) => return (frames, end),
            }
        }
    }

    /// Sends a close frame, with or without a code. Skips further frames, and returns how the socket ended.
    pub(crate) async fn goodbye(mut self, code: Option<u16>) -> End {
        self.transcript.note(&self.who, "->", &format!("close {code:?}"));
        let close = code.map(|code| CloseFrame { code: code.into(), reason: "bye".into() });
        self.write.send(Message::Close(close)).await.unwrap();
        self.hear_out().await.1
    }

    /// Sends `text` and waits for its acknowledgement or for an error. Adds all received frames to `heard`.
    pub(crate) async fn say_and_hear(&mut self, text: &str, heard: &mut Vec<Value>) -> Result<Value, End> {
        if !self.try_send(serde_json::json!({"action": "send", "message": text})).await {
            // The write failed, but the frames that arrived before the failure can still be read.
            let (frames, end) = self.hear_out().await;
            heard.extend(frames);
            return Err(end);
        }
        loop {
            let frame = self.next_or_end().await?;
            heard.push(frame.clone());
            let mine = frame["type"] == "chat_message" && frame["message"]["text"] == text;
            if mine || frame["type"] == "error" {
                return Ok(frame);
            }
        }
    }
}
