//! A socket that may end at any moment, because its server may.

use futures_util::SinkExt;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::{Client, PATIENCE, RawFrame};

/// How a socket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By a close frame with this code.
    Closed(u16),
    /// Without one.
    Lost,
}

impl Client {
    /// The next frame, or how the socket ended.
    pub(crate) async fn next_or_end(&mut self) -> Result<Value, End> {
        match self.hear().await {
            RawFrame::Text(text) => Ok(serde_json::from_str(&text).expect("every frame is JSON")),
            RawFrame::Closed(code, _) => Err(End::Closed(code)),
            RawFrame::Lost(_) => Err(End::Lost),
        }
    }

    /// The next frame or the end, for one who hears nothing while something is down.
    pub(crate) async fn next_in_the_end(&mut self) -> Result<Value, End> {
        match self.hear_within(8 * PATIENCE).await {
            RawFrame::Text(text) => Ok(serde_json::from_str(&text).expect("every frame is JSON")),
            RawFrame::Closed(code, _) => Err(End::Closed(code)),
            RawFrame::Lost(_) => Err(End::Lost),
        }
    }

    /// The code and the reason of the close that ends the socket, whatever comes before.
    pub(crate) async fn end(&mut self) -> (u16, String) {
        loop {
            match self.hear_within(8 * PATIENCE).await {
                RawFrame::Text(_) => {}
                RawFrame::Closed(code, reason) => return (code, reason),
                RawFrame::Lost(how) => panic!("the socket was lost: {how}"),
            }
        }
    }

    /// All that still comes until the socket ends, and how it does.
    pub(crate) async fn hear_out(&mut self) -> (Vec<Value>, End) {
        let mut frames = Vec::new();
        loop {
            match self.next_or_end().await {
                Ok(frame) => frames.push(frame),
                Err(end) => return (frames, end),
            }
        }
    }

    /// Closes the socket, with a code or none; gives how the server ends it, whatever it said before.
    pub(crate) async fn goodbye(mut self, code: Option<u16>) -> End {
        self.transcript.note(&self.who, "->", &format!("close {code:?}"));
        let close = code.map(|code| CloseFrame { code: code.into(), reason: "bye".into() });
        self.write.send(Message::Close(close)).await.unwrap();
        self.hear_out().await.1
    }

    /// Says `text` and waits until it is acknowledged, or refused. Gives all that was heard up to then.
    pub(crate) async fn say_and_hear(&mut self, text: &str, heard: &mut Vec<Value>) -> Result<Value, End> {
        if !self.try_send(serde_json::json!({"action": "send", "message": text})).await {
            // What came before the end may still be read.
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
