//! The fuzz targets: functions that pass arbitrary bytes to the server's own code. `tests/fuzz` has a program for each
//! target. `cargo test` passes the checked-in corpus (the stored inputs) to the same functions.
//!
//! Each target asserts properties that hold for any input. The server's code doesn't panic. An action finishes
//! without waiting, because its room is a fake. Refused input gets a stable error code, and accepted input is within
//! its limits. If a parsed value is written and parsed again, the result is the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a promise that doesn't hold ends by a panic: that is what a fuzzer looks for"
)]

pub(crate) mod answers;
pub(crate) mod cursors;
pub(crate) mod frames;
pub(crate) mod tokens;
pub(crate) mod urls;
pub(crate) mod wire;

use std::sync::LazyLock;

use crate::config::Config;
use crate::protocol::close::{self, Close};

pub use self::answers::answers;
pub use self::cursors::cursors;
pub use self::frames::frames;
pub use self::tokens::tokens;
pub use self::urls::urls;
pub use self::wire::wire;
use crate::http::api::fuzz::SAID_CHARS;
pub use crate::http::api::fuzz::bodies;

/// A fuzz target: a function that takes any bytes, and panics if one of its properties does not hold.
pub type FuzzTarget = fn(&[u8]);

/// The targets by name. The name is also the name of the file in `tests/fuzz/fuzz_targets` and of the folder in
/// `tests/fuzz/corpus`.
pub const TARGETS: &[(&str, FuzzTarget)] = &[
    ("answers", answers),
    ("bodies", bodies),
    ("cursors", cursors),
    ("frames", frames),
    ("tokens", tokens),
    ("urls", urls),
    ("wire", wire),
];

/// The secret that signs the tokens of the checked-in corpora.
const SECRET: &str = "a secret of the fuzz targets, and of no other use";

/// The default configuration, with [`SECRET`] as `auth.secret`.
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let secret = ("PARLOR__AUTH__SECRET".to_owned(), SECRET.to_owned());
    Config::load(None, [secret]).expect("the defaults are good")
});

/// Asserts that [`close::CODES`] lists the code of a close, and that the reason fits into a control frame (1 to 123
/// bytes). The codes 1002 and 1007 for invalid WebSocket bytes need not be listed.
fn assert_listed(close: Close) {
    let (code, reason) = (close.code(), close.reason());
    let framing = [1002, 1007].contains(&code);
    assert!(framing || close::CODES.iter().any(|(listed, _)| *listed == code), "{close:?}");
    assert!((1..=123).contains(&reason.len()), "{close:?}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::TARGETS;

    fn folder(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(name)
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().path();
        entries.map(|entry| name(entry).file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn fuzz_targets_match_their_corpora_and_programs() {
        let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names(&folder("corpus")), targets);
        assert_eq!(names(&folder("fuzz_targets")), targets);
    }

    #[test]
    fn fuzz_corpora_cause_no_panic() {
        for (name, target) in TARGETS {
            let corpus = folder("corpus").join(name);
            let files = names(&corpus);
            assert!(files.len() >= 10, "the corpus of {name} has {} files", files.len());
            for file in files {
                let input = fs::read(corpus.join(&file)).unwrap();
                let borne = std::panic::catch_unwind(|| target(&input));
                assert!(borne.is_ok(), "{name} doesn't bear {file}: {}", String::from_utf8_lossy(&input));
            }
        }
    }
}
