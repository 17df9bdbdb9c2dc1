//! The names of all tests: at most 60 characters, and each begins with the tested subject.

use std::fs;
use std::path::Path;

/// The folders whose tests are checked.
const FOLDERS: [&str; 3] = ["src", "handlers/src", "tests/it"];

/// The largest allowed length of a name, in characters.
const LENGTH: usize = 60;

/// The smallest expected number of tests. Fewer found tests mean that the search is broken.
const TESTS: usize = 900;

/// First words that name no subject: pronouns, and words that begin a clause.
const NO_SUBJECT: &[&str] = &[
    "all",
    "and",
    "another",
    "any",
    "anybody",
    "anyone",
    "anything",
    "as",
    "both",
    "but",
    "each",
    "either",
    "every",
    "everybody",
    "everyone",
    "everything",
    "he",
    "her",
    "his",
    "how",
    "if",
    "it",
    "its",
    "many",
    "more",
    "neither",
    "nobody",
    "none",
    "nor",
    "nothing",
    "of",
    "one",
    "ones",
    "or",
    "other",
    "others",
    "several",
    "she",
    "so",
    "some",
    "somebody",
    "someone",
    "something",
    "that",
    "their",
    "them",
    "there",
    "these",
    "they",
    "this",
    "those",
    "what",
    "whatever",
    "when",
    "where",
    "which",
    "while",
    "who",
    "whoever",
    "whom",
    "whose",
    "why",
];

/// Returns the names of the test functions in a source file.
fn test_functions(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(function) = function {
            // The tests of a macro have their names where the macro is called, so `fn $name` is skipped.
            let name = function.split('(').next().filter(|name| is_test && !name.starts_with('$'));
            names.extend(name);
            is_test = false;
        }
    }
    names
}

/// Calls `check` with each source file below a folder and its text.
fn each_file(folder: &Path, check: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, check);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            check(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn test_names_are_short_and_begin_with_their_subject() {
    let (mut found, mut bad) = (0, Vec::new());
    let mut check = |path: &Path, text: &str| {
        for name in test_functions(text) {
            found += 1;
            let first = name.split('_').next().unwrap();
            if name.len() > LENGTH || NO_SUBJECT.contains(&first) {
                bad.push(format!("{}: {name} ({} characters)", path.display(), name.len()));
            }
        }
    };
    for folder in FOLDERS {
        each_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut check);
    }
    assert!(found >= TESTS, "only {found} tests were found");
    assert!(bad.is_empty(), "tests are named <subject>_<expectation>[_when_<condition>]: {bad:#?}");
}

#[test]
fn test_functions_are_found_by_their_attribute() {
    let text = "fn helper() {}\n#[test]\nfn one_test() {}\n    #[tokio::test(start_paused = true)]\n    \
                #[ignore]\n    async fn two_test() {}\nfn other() {}\n#[test]\nfn $name() {}";
    assert_eq!(test_functions(text), ["one_test", "two_test"]);
}
