//! A program that a test runs. It ends with the test, however the test ends.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::PATIENCE;

/// A running program with its children, as long as they stay in its process group.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    /// Ends the group should this process be killed: it reads from a pipe that we never write to.
    watch: Child,
    /// All that the program wrote; closed once it and all who share its output are gone.
    said: watch::Receiver<String>,
    gone: mpsc::Receiver<()>,
    grace: Duration,
}

impl Process {
    /// Starts one. When this is dropped it has so long after SIGTERM until it is killed; zero: at once.
    pub(crate) fn start(name: &'static str, mut command: Command, grace: Duration) -> Self {
        let (mut output, input) = std::io::pipe().unwrap();
        command.stdin(Stdio::null()).stdout(input.try_clone().unwrap()).stderr(input).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} can't be started: {error}"));
        // It holds the pipe's other end, and the reader would wait for it for ever.
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

    /// All that it has written up to now, to either output.
    pub(crate) fn said(&self) -> String {
        self.said.borrow().clone()
    }

    /// Waits until it has written a line with these words, and gives what stands after them on it.
    pub(crate) async fn says(&self, words: &str, limit: Duration) -> String {
        self.says_after(0, words, limit).await
    }

    /// The same of what it writes after so many bytes.
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

    /// Asks it to end, and waits until it has.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.signal("TERM", "");
        let mut said = self.said.clone();
        let gone = timeout(PATIENCE, said.wait_for(|_| false)).await.is_ok();
        assert!(gone, "{} still runs {PATIENCE:?} after SIGTERM; it said:\n{}", self.name, self.said());
        self.child.wait().unwrap()
    }

    /// `group` is `-` for the whole group.
    pub(super) fn signal(&self, signal: &str, group: &str) {
        // Where it has just ended there is nobody to tell, and `kill` says so.
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
        // Its children may be there still; its own id is not another's before it has been waited for.
        if running {
            self.signal("KILL", "-");
        }
        // Where there is no `kill` to ask, or the wait below would be for ever.
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
