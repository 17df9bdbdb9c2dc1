//! A program that a test runs as a child process. The program ends with the test process, even if the test process is
//! killed.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::PATIENCE;

/// A running program. The program and its children form one process group.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    /// A shell that kills the process group if the test process is killed. This shell waits for the end of a pipe that
    /// the test process holds open and never writes to.
    watch: Child,
    /// The program's output so far. The channel closes when the program and its children have ended.
    said: watch::Receiver<String>,
    gone: mpsc::Receiver<()>,
    grace: Duration,
}

impl Process {
    /// Starts a program. Dropping the returned value sends SIGTERM, and SIGKILL after `grace`. If `grace` is zero, the
    /// drop sends SIGKILL immediately.
    pub(crate) fn start(name: &'static str, mut command: Command, grace: Duration) -> Self {
        let (mut output, input) = std::io::pipe().unwrap();
        command.stdin(Stdio::null()).stdout(input.try_clone().unwrap()).stderr(input).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} can't be started: {error}"));
        // The command holds the write end of the pipe. The reader reaches the end of the output only after all write
        // ends are closed.
        drop(command);
        let watch = Command::new("sh")
            .args(["-c", r#"read -r never; kill -s KILL -- "-$1""#, "sh", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let (says, said) = watch::channel(String::new());
        let (running, gone) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = std::io::Read::read(&mut output, &mut bytes) {
                says.send_modify(|said| said.push_str(&String::from_utf8_lossy(&bytes[..count])));
            }
            drop((says, running));
        });
        Self { name, child, watch, said, gone, grace }
    }

    /// Returns everything that the program has written so far to stdout and stderr.
    pub(crate) fn said(&self) -> String {
        self.said.borrow().clone()
    }

    /// Waits until the program writes a line with these words. Returns the part of the line after the words.
    pub(crate) async fn says(&self, words: &str, limit: Duration) -> String {
        self.says_after(0, words, limit).await
    }

    /// Works like [`Self::says`], but ignores the first `before` bytes of the output.
    pub(crate) async fn says_after(&self, before: usize, words: &str, limit: Duration) -> String {
        let after = |said: &str| {
            let (line, _) = said.get(before..)?.split_once(words)?.1.split_once('\n')?;
            Some(line.trim_end().to_owned())
        };
        let mut said = self.said.clone();
        let line = timeout(limit, said.wait_for(|said| after(said).is_some())).await;
        let how = match line {
            Ok(Ok(said)) => return after(&said).unwrap(),
            Ok(Err(_)) => "it ended".to_owned(),
            Err(_) => format!("{limit:?} went by"),
        };
        panic!("{}: {how} before it said {words:?}; it said:\n{}", self.name, self.said());
    }

    /// Sends SIGTERM and waits until the program has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.signal("TERM", "");
        let mut said = self.said.clone();
        let gone = timeout(PATIENCE, said.wait_for(|_| false)).await.is_ok();
        assert!(gone, "{} still runs {PATIENCE:?} after SIGTERM; it said:\n{}", self.name, self.said());
        self.child.wait().unwrap()
    }

    /// Sends a signal to the program, or to its whole process group if `group` is `-`.
    pub(super) fn signal(&self, signal: &str, group: &str) {
        // `kill` fails if the program has just ended.
        let _ = Command::new("kill")
            .args(["-s", signal, "--", &format!("{group}{}", self.child.id())])
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let running = matches!(self.child.try_wait(), Ok(None));
        if running && !self.grace.is_zero() {
            self.signal("TERM", "");
            let _ = self.gone.recv_timeout(self.grace);
        }
        // The program's children may still run. Until `wait`, no other process can get the program's id, so this kill
        // is safe.
        if running {
            self.signal("KILL", "-");
        }
        // If the program `kill` is missing, only this call ends the child. Without this call, the wait below would
        // never end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.watch.kill();
        let _ = self.watch.wait();
        if running {
            let _ = self.gone.recv_timeout(PATIENCE);
        }
        if thread::panicking() {
            let said = self.said();
            let lines: Vec<_> = said.lines().collect();
            eprintln!("{} said:\n{}\n", self.name, lines[lines.len().saturating_sub(100)..].join("\n"));
        }
    }
}
