//! A server process with a clock of its own, which a test can set. The library `libfaketime` changes the time that the
//! process gets from the C library. The monotonic clock (`CLOCK_MONOTONIC`) stays unchanged, as when a real clock is
//! set.

use std::path::PathBuf;
use std::sync::Arc;

use mongodb::bson::DateTime;
use tempfile::TempDir;

use super::super::mongo::Database;
use super::super::server::others::settings;
use super::super::transcript::Transcript;
use super::Program;

/// The path of the library in Debian's package. The dynamic loader replaces `$LIB`.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

/// The largest allowed difference between the process's clock and the time that the test has set, in ms.
const ABOUT: i64 = 60_000;

/// A clock that a test sets while the process runs.
pub(crate) struct Clock {
    files: TempDir,
}

impl Clock {
    /// Makes a clock that is this number of seconds ahead of the real clock.
    pub(crate) fn ahead_by(seconds: i64) -> Self {
        let clock = Self { files: tempfile::tempdir().unwrap() };
        clock.set(seconds);
        clock
    }

    /// Sets the clock this number of seconds ahead of the real clock.
    pub(crate) fn set(&self, seconds: i64) {
        // The process reads this file each time it asks for the time, so the file must never be half written.
        let new = self.files.path().join("new");
        std::fs::write(&new, format!("{seconds:+}")).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.files.path().join("offset")
    }

    fn ahead(&self) -> i64 {
        std::fs::read_to_string(self.file()).unwrap().parse().unwrap()
    }

    fn environment(&self) -> [(String, String); 4] {
        let file = self.file().display().to_string();
        [
            ("LD_PRELOAD", LIBRARY),
            ("FAKETIME_TIMESTAMP_FILE", &*file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }
}

impl Program {
    /// Starts a server with this clock.
    pub(crate) async fn start_by(clock: &Clock, uri: &str, overrides: &[(&str, &str)]) -> Self {
        let database = Arc::new(Database::new());
        let mut settings = settings(uri, &database.name, overrides);
        settings.extend(clock.environment());
        let program = Self::run(settings, database, Transcript::new()).await;
        // The log begins with the time by the process's clock.
        let log = program.log();
        let has = log.split_whitespace().next().unwrap_or_default();
        let has = DateTime::parse_rfc3339_str(has).unwrap_or_else(|_| panic!("no time in {log:?}"));
        let must = DateTime::now().timestamp_millis() + clock.ahead() * 1000;
        let differ = (has.timestamp_millis() - must).abs();
        assert!(
            differ < ABOUT,
            "its clock is {differ} ms off: install libfaketime (Debian's package `faketime`)"
        );
        program
    }
}
