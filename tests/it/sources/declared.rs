//! Each file of the tests is declared as a module. Cargo does not compile an undeclared file, so its tests would be
//! skipped silently.

use std::fs;
use std::path::{Path, PathBuf};

/// Adds the Rust files below a folder that no module declares to `into`.
fn undeclared(folder: &Path, into: &mut Vec<PathBuf>) {
    let text =
        ["mod.rs", "main.rs"].map(|face| fs::read_to_string(folder.join(face)).unwrap_or_default()).concat();
    let beside = fs::read_to_string(folder.with_extension("rs")).unwrap_or_default();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_module = path.is_dir() || path.extension().is_some_and(|extension| extension == "rs");
        let declares =
            |text: &str| text.lines().any(|line| line.trim_end().ends_with(&format!("mod {name};")));
        if is_module && !["mod", "main"].contains(&name.as_str()) && !declares(&text) && !declares(&beside) {
            into.push(path.clone());
        }
        if path.is_dir() {
            undeclared(&path, into);
        }
    }
}

#[test]
fn test_files_are_compiled() {
    let mut found = Vec::new();
    undeclared(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it"), &mut found);
    assert!(found.is_empty(), "no module declares {found:#?}");
}
