//! Reads an answer of JSON lines, one line at a time. The limits protect this machine's memory if the URL leads to
//! a server that is not Parlor.

use std::time::Duration;

use reqwest::Response;
use tokio::time::timeout;

use super::client::cause;
use crate::Failure;

/// The longest line, in bytes. The first line of an event stream is long, because it contains the history.
const MAX_LINE_BYTES: usize = 64 << 20;

/// The longest time for one line. An event stream sends a line at least every 15 s.
const LINE: Duration = Duration::from_mins(2);

pub(super) struct AnswerLines {
    answer: Response,
    waiting: Vec<u8>,
    /// The number of bytes at the start of `waiting` that were already searched and contain no line break.
    looked: usize,
}

/// The next part of an answer.
pub(super) enum NextLine {
    /// A line, with its line break.
    Line(Vec<u8>),
    /// The end of the answer, with the text after the last line break.
    End(Vec<u8>),
    /// The connection broke before the end of the answer, or a line took longer than [`LINE`]. The text is the
    /// reason.
    Broken(String),
}

impl AnswerLines {
    pub(super) fn of(answer: Response) -> Self {
        Self { answer, waiting: Vec::new(), looked: 0 }
    }

    /// Waits for the next part of the answer.
    ///
    /// # Errors
    /// The line is longer than [`MAX_LINE_BYTES`].
    pub(super) async fn next(&mut self) -> Result<NextLine, Failure> {
        let line = timeout(LINE, self.read()).await;
        line.unwrap_or_else(|_| Ok(NextLine::Broken(format!("a line took over {} s", LINE.as_secs()))))
    }

    async fn read(&mut self) -> Result<NextLine, Failure> {
        loop {
            let end = self.waiting[self.looked..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let rest = self.waiting.split_off(self.looked + end + 1);
                self.looked = 0;
                return Ok(NextLine::Line(std::mem::replace(&mut self.waiting, rest)));
            }
            self.looked = self.waiting.len();
            if self.looked > MAX_LINE_BYTES {
                return Err(
                    format!("a line of the answer has over {MAX_LINE_BYTES} bytes: is this Parlor?").into()
                );
            }
            match self.answer.chunk().await {
                Ok(Some(chunk)) => self.waiting.extend_from_slice(&chunk),
                Ok(None) => return Ok(NextLine::End(std::mem::take(&mut self.waiting))),
                Err(error) => return Ok(NextLine::Broken(cause(&error))),
            }
        }
    }
}
