//! Checks the book in docs/. Its links must work, and the tests that it names must exist. Each page must be in the
//! book, and each alert must have an entry in the runbook.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// The Markdown pages outside of `docs/`.
const OTHER_PAGES: &[&str] = &[
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benches/RESULTS.md",
    "benches/kit/README.md",
    "clients/js/README.md",
    "tests/fuzz/README.md",
];

/// The pages whose tables name tests. The tests stand in the last column, which has the heading `shown by`.
const PAGES_THAT_NAME_TESTS: &[&str] = &["docs/security.md", "docs/reliability.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the paths of the files with this extension in a folder and its subfolders. The paths start at the root of
/// the repository.
fn files_below(folder: &str, extension: &str) -> BTreeSet<PathBuf> {
    let mut folders = vec![root().join(folder)];
    let mut files = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.insert(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    files
}

fn read(page: impl AsRef<Path>) -> String {
    let page = page.as_ref();
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// The parts of a page that the tests check.
#[derive(Default)]
struct Page {
    /// The targets of the page's links and images.
    links: Vec<String>,
    /// The texts of the page's headings, without markup.
    headings: Vec<String>,
    /// The code spans in the last column of tables, if that column has the heading `shown by`.
    shown_by: Vec<String>,
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut heading = None;
        let (mut cell, mut codes) = (String::new(), Vec::new());
        let (mut names_tests, mut in_head) = (false, false);
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.headings.extend(heading.take()),
                Event::Start(Tag::TableHead) => in_head = true,
                Event::Start(Tag::TableCell) => {
                    cell.clear();
                    codes.clear();
                }
                Event::End(TagEnd::TableHead) => {
                    (names_tests, in_head) = (cell == "shown by", false);
                }
                Event::End(TagEnd::TableRow) if names_tests => page.shown_by.append(&mut codes),
                Event::Text(text) | Event::Code(text) if heading.is_some() => {
                    heading.as_mut().unwrap().push_str(&text);
                }
                Event::Text(text) if in_head => cell.push_str(&text),
                Event::Code(code) => codes.push(code.into_string()),
                _ => {}
            }
        }
        page
    }

    /// Returns the anchors of the page's headings. If several headings have the same text, the anchors of the second
    /// and later headings get a number.
    fn anchors(&self) -> BTreeSet<String> {
        let mut times = BTreeMap::new();
        let anchor = |heading: &String| {
            let anchor = anchor(heading);
            let seen: &mut u32 = times.entry(anchor.clone()).or_default();
            *seen += 1;
            if *seen == 1 { anchor } else { format!("{anchor}-{}", *seen - 1) }
        };
        self.headings.iter().map(anchor).collect()
    }
}

/// Returns a heading's anchor, in the way in which mdBook and the web views of repositories build it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}

fn pages() -> BTreeMap<PathBuf, Page> {
    let others = OTHER_PAGES.iter().map(PathBuf::from).filter(|page| root().join(page).is_file());
    let pages = files_below("docs", "md").into_iter().chain(others);
    pages.map(|path| (path.clone(), Page::parse(&read(path)))).collect()
}

/// Returns the path of the file to which a link on this page leads. The path contains no `..`.
fn resolved(page: &Path, link: &str) -> PathBuf {
    let mut path = page.parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(link) {
        match part.to_str() {
            Some("..") => drop(path.pop()),
            Some(".") => {}
            _ => path.push(part),
        }
    }
    path
}

#[test]
fn links_of_documents_lead_to_files_and_headings() {
    let pages = pages();
    let mut broken = Vec::new();
    let mut followed = 0;
    for (path, page) in &pages {
        let within = page.links.iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:"));
        for link in within {
            followed += 1;
            let (file, heading) = link.split_once('#').map_or((&**link, None), |(file, to)| (file, Some(to)));
            let target = if file.is_empty() { path.clone() } else { resolved(path, file) };
            let leads = match (heading, pages.get(&target)) {
                (None, _) => root().join(&target).exists(),
                (Some(heading), Some(page)) => page.anchors().contains(heading),
                (Some(_), None) => false,
            };
            if !leads {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(followed > 50, "only {followed} links were found");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn book_has_each_page_once() {
    let summary = Path::new("docs/SUMMARY.md");
    let mut listed: Vec<_> =
        Page::parse(&read(summary)).links.iter().map(|link| resolved(summary, link)).collect();
    listed.sort();
    let pages: Vec<_> = files_below("docs", "md").into_iter().filter(|page| page != summary).collect();
    assert_eq!(listed, pages, "docs/SUMMARY.md, and what is in docs/");
}

#[test]
fn alerts_have_entries_in_the_runbook() {
    let runbook = Page::parse(&read("docs/operate/runbook.md"));
    let entries: BTreeSet<_> =
        runbook.headings.iter().filter(|heading| heading.starts_with("Parlor")).cloned().collect();
    let alerts = read("config/alerts.yaml");
    let mut named = BTreeSet::new();
    for rule in alerts.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        let annotation = format!("runbook: docs/operate/runbook.md#{}", anchor(name));
        assert!(rule.lines().any(|line| line.trim() == annotation), "{name} lacks `{annotation}`");
        named.insert(name.to_owned());
    }
    assert!(named.len() > 10, "{named:?}");
    assert_eq!(named, entries, "the alerts, and the runbook's entries");
}

/// Returns the paths of the modules and functions of the integration tests, without the crate's name.
fn test_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files_below("tests/it", "rs") {
        let module = file.strip_prefix("tests/it").unwrap().with_extension("");
        let parts = module.iter().filter_map(|part| part.to_str());
        let module = parts.filter(|part| !matches!(*part, "main" | "mod")).collect::<Vec<_>>().join("::");
        for line in read(&file).lines() {
            let function = line.trim_start().trim_start_matches("async ").strip_prefix("fn ");
            let name = function.and_then(|rest| rest.split(['(', '<']).next());
            names.extend(name.map(|name| format!("{module}::{name}")));
        }
        names.insert(module);
    }
    names
}

#[test]
fn tests_that_documents_name_exist() {
    let existing = test_names();
    // A document may name a module or a function without the folders before it.
    let exists = |test: &String| {
        existing.iter().any(|name| {
            name.strip_suffix(&**test).is_some_and(|rest| rest.is_empty() || rest.ends_with("::"))
        })
    };
    for page in PAGES_THAT_NAME_TESTS {
        let named = Page::parse(&read(page)).shown_by;
        assert!(named.len() > 10, "{page} names only {named:?}");
        let missing: Vec<_> = named.iter().filter(|test| !exists(test)).collect();
        assert!(missing.is_empty(), "{page} names tests that do not exist: {missing:?}");
    }
}

#[test]
fn page_has_its_links_headings_and_named_tests() {
    let text = "# One `two` [three](a.md#b)\n\n## One two three\n\n| a | shown by |\n|---|---|\n| `x` | `m::f`, `g` |\n\n`[no](link)`";
    let page = Page::parse(text);
    assert_eq!(page.links, ["a.md#b"]);
    assert_eq!(page.anchors().into_iter().collect::<Vec<_>>(), ["one-two-three", "one-two-three-1"]);
    assert_eq!(page.shown_by, ["m::f", "g"]);
}
