//! Reads the code blocks of a page of the documentation.

use std::fs;
use std::path::{Path, PathBuf};

/// The languages of the code blocks that a reader runs and that the tests run.
const RUN: [&str; 4] = ["sh", "js", "ts", "python"];

/// The languages of the code blocks that the tests do not run. These blocks are examples of data, files for other
/// programs, the output of a snippet, or commands that the tests can't run (`console`).
const SHOWN: [&str; 11] =
    ["console", "output", "json", "text", "toml", "yaml", "ini", "nginx", "haproxy", "mongosh", "rust"];

/// A code block of a page.
#[derive(Clone, Debug)]
pub(super) struct Snippet {
    /// The number of the line on which the code block begins.
    pub(super) line: usize,
    pub(super) language: String,
    /// The name of the file in which a reader saves the snippet. Empty if a reader runs the snippet directly.
    pub(super) file: String,
    pub(super) text: String,
    /// The output of the snippet, if the page shows it.
    pub(super) output: Option<String>,
}

/// A page with its snippets in order.
pub(super) struct Page {
    /// The path of the page in the repository.
    pub(super) path: String,
    pub(super) snippets: Vec<Snippet>,
}

impl Page {
    /// Reads a page by its path in the repository.
    ///
    /// Panics if a code block has no known language, because the test can't know whether to run it.
    pub(super) fn read(path: &str) -> Self {
        let file = repository().join(path);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), snippets: snippets(path, &text) }
    }

    /// Reads the README and all pages below `docs/`.
    pub(super) fn all() -> Vec<Self> {
        let mut paths = vec!["README.md".to_owned(), "clients/js/README.md".to_owned()];
        collect(&repository().join("docs"), &mut paths);
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// Returns the snippets that the tests run. If an `output` block follows a snippet on the page, the snippet
    /// contains it.
    pub(super) fn run(&self) -> Vec<Snippet> {
        let mut run: Vec<Snippet> = Vec::new();
        for snippet in &self.snippets {
            if RUN.contains(&snippet.language.as_str()) {
                run.push(snippet.clone());
            } else if snippet.language == "output" {
                let before = run.last_mut().filter(|before| before.output.is_none());
                let Some(before) = before else {
                    panic!("{}:{}: an output without its snippet", self.path, snippet.line)
                };
                before.output = Some(snippet.text.clone());
            }
        }
        for (at, saved) in run.iter().enumerate().filter(|(_, snippet)| !snippet.file.is_empty()) {
            // A shell snippet runs a TypeScript program under the name of the compiled file. So the check ignores the
            // extension `.ts`.
            let name = saved.file.trim_end_matches(".ts");
            let mut later = run[at + 1..].iter().filter(|snippet| snippet.language == "sh");
            let is_run = later.any(|snippet| snippet.text.contains(name));
            assert!(is_run, "{}:{}: no later shell snippet runs {}", self.path, saved.line, saved.file);
        }
        run
    }

    /// Returns the snippets that the tests can't run (`console`).
    pub(super) fn not_run(&self) -> impl Iterator<Item = &Snippet> {
        self.snippets.iter().filter(|snippet| snippet.language == "console")
    }
}

pub(super) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// Returns the code blocks in the text of a page.
fn snippets(path: &str, text: &str) -> Vec<Snippet> {
    let mut snippets = Vec::new();
    let mut open: Option<Snippet> = None;
    for (line, content) in text.lines().enumerate().map(|(line, content)| (line + 1, content)) {
        match (content.trim_start().strip_prefix("```"), &mut open) {
            (Some(""), Some(_)) => snippets.extend(open.take()),
            (Some(info), None) => {
                let snippet = opened(path, line, info);
                let is_pasted = RUN.contains(&snippet.language.as_str());
                assert!(!is_pasted || content.starts_with("```"), "{path}:{line}: an indented snippet");
                open = Some(snippet);
            }
            (_, Some(snippet)) => {
                snippet.text.push_str(content);
                snippet.text.push('\n');
            }
            (None, None) => {
                assert!(!content.starts_with("    "), "{path}:{line}: code belongs into a fence");
            }
        }
    }
    assert!(open.is_none(), "{path}: the last fence has no end");
    snippets
}

fn opened(path: &str, line: usize, info: &str) -> Snippet {
    let (language, file) = info.split_once(' ').unwrap_or((info, ""));
    let known = RUN.contains(&language) || (SHOWN.contains(&language) && file.is_empty());
    assert!(known, "{path}:{line}: no known fence: {info:?}");
    let (language, file) = (language.to_owned(), file.to_owned());
    assert!(language != "sh" || file.is_empty(), "{path}:{line}: a shell snippet is pasted, not saved");
    Snippet { line, language, file, text: String::new(), output: None }
}
