//! Runs small programs of the system. Finds the programs on PATH, limits their time, and returns an error in one line.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::timeout;

/// The time limit of a command that only returns information.
pub(super) const QUICK: Duration = Duration::from_secs(15);

/// Returns the first executable file called `name` in the directories of `path`.
pub(super) fn which(name: &str, path: &OsStr) -> Option<PathBuf> {
    let executable = |file: &PathBuf| {
        file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path).map(|folder| folder.join(name)).find(executable)
}

/// Returns a command that gets no input. The command's process is killed when the future that waits for the process is
/// dropped.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs `command` to its end. Returns its output, or one line with the reason of the failure.
pub(super) async fn run(command: &mut Command, limit: Duration) -> Result<String, String> {
    let child = command.spawn().map_err(|cause| cause.to_string())?;
    let output = match timeout(limit, child.wait_with_output()).await {
        Ok(output) => output.map_err(|cause| cause.to_string())?,
        Err(_) => return Err(format!("it took longer than {} s", limit.as_secs())),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    Err(last.map_or_else(|| output.status.to_string(), str::to_owned))
}

/// Sends a signal to the process `pid`. Returns false if the signal could not be sent, for example because the process
/// has ended.
pub(super) fn signal(signal: Signal, pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}
