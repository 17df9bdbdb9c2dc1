//! Contracts that are generated from the code and checked in, so that a diff shows each change.

use std::path::Path;

/// Holds what was made to the file that is checked in. With `UPDATE_CONTRACTS=1` the file is written instead.
pub(crate) fn checked_in(file: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_CONTRACTS").is_some_and(|set| set == "1") {
        std::fs::write(&path, made).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let moved = kept.lines().zip(made.lines()).enumerate().find(|(_, (kept, made))| kept != made);
    assert!(
        kept == made,
        "{file} is no longer what the code makes: {moved:?}; if that is meant, run the tests with UPDATE_CONTRACTS=1"
    );
}
