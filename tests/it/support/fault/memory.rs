//! Reads the memory use of a server process.

use super::Program;

impl Program {
    /// Returns the process's resident memory in KiB (`VmRSS` of Linux, proc(5)).
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}
