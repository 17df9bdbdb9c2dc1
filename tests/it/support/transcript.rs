//! The transcript: every frame that the sockets of a test sent and received. A failed test prints it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The number of lines that are kept. Earlier lines are dropped, because the cause of a failure is near the end.
const KEPT: usize = 300;

/// The transcript of one test, shared by its sockets. If the test fails, the drop of the transcript's last owner prints
/// its lines.
#[derive(Clone)]
pub(crate) struct Transcript(Arc<Lines>);

struct Lines {
    began: Instant,
    lines: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<String>,
    skipped: usize,
}

impl Transcript {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Lines { began: Instant::now(), lines: Mutex::default() }))
    }

    /// Records a frame of the socket `who`. `mark` is `->` for a frame to the server, and `<-` for a frame from the
    /// server.
    pub(crate) fn note(&self, who: &str, mark: &str, what: &str) {
        let ms = self.0.began.elapsed().as_millis();
        let mut line = format!("{ms:>6} ms  {who:<12} {mark} {}", what.chars().take(300).collect::<String>());
        if what.len() > 300 {
            let _ = write!(line, " ... ({} bytes)", what.len());
        }
        let mut kept = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.lines.len() >= KEPT {
            kept.lines.pop_front();
            kept.skipped += 1;
        }
        kept.lines.push_back(line);
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let Kept { lines, skipped } = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
        if std::thread::panicking() {
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            eprintln!("\ntranscript ({skipped} lines before these left out):\n{}\n", lines.join("\n"));
        }
    }
}
