//! Compares contracts that are generated from the code with their checked-in files, so that a diff shows each change.

use std::path::Path;

/// Asserts that the checked-in file equals the generated text. With `UPDATE_CONTRACTS=1`, writes the file instead.
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
