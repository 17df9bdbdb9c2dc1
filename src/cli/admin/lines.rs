//! Answers of JSON lines, read one by one and within bounds: a server that is none must not fill this machine's memory.

use std::time::Duration;

use reqwest::Response;
use tokio::time::timeout;

use super::client::cause;
use crate::Failure;

/// The longest line that is read, in bytes: the first of a stream holds a whole history.
const MAX_LINE_BYTES: usize = 64 << 20;

/// How long one line may take; a stream has one every 15 s.
const LINE: Duration = Duration::from_mins(2);

pub(super) struct AnswerLines {
    answer: Response,
    waiting: Vec<u8>,
    /// How much of it has no end of a line.
    looked: usize,
}

/// The next thing that an answer has.
pub(super) enum Next {
    /// A line with its end.
    Line(Vec<u8>),
    /// The answer is over; what came after its last line.
    End(Vec<u8>),
    /// It broke off, and why.
    Broken(String),
}

impl AnswerLines {
    pub(super) fn of(answer: Response) -> Self {
        Self { answer, waiting: Vec::new(), looked: 0 }
    }

    /// # Errors
    /// The line is too long.
    pub(super) async fn next(&mut self) -> Result<Next, Failure> {
        let line = timeout(LINE, self.read()).await;
        line.unwrap_or_else(|_| Ok(Next::Broken(format!("a line took over {} s", LINE.as_secs()))))
    }

    async fn read(&mut self) -> Result<Next, Failure> {
        loop {
            let end = self.waiting[self.looked..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let rest = self.waiting.split_off(self.looked + end + 1);
                self.looked = 0;
                return Ok(Next::Line(std::mem::replace(&mut self.waiting, rest)));
            }
            self.looked = self.waiting.len();
            if self.looked > MAX_LINE_BYTES {
                return Err(
                    format!("a line of the answer has over {MAX_LINE_BYTES} bytes: is this Parlor?").into()
                );
            }
            match self.answer.chunk().await {
                Ok(Some(chunk)) => self.waiting.extend_from_slice(&chunk),
                Ok(None) => return Ok(Next::End(std::mem::take(&mut self.waiting))),
                Err(error) => return Ok(Next::Broken(cause(&error))),
            }
        }
    }
}
