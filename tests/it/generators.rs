//! A client that a common tool generates from the API's description: all of it is understood, and real calls are done by it.
//! Another tool's is beside the client library, `clients/js/test/openapi.test.ts`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::support::{API_KEY, Server};

/// The tool, as pip installs it into the target folder where it isn't there yet.
const TOOL: (&str, &str) = ("openapi-python-client", "0.29.1");

/// How long pip may take, and the tool.
const PATIENCE: Duration = Duration::from_mins(5);

/// JSON lines are text to the tool, and what it writes needs no formatting.
const CONFIG: &str = "post_hooks: []\ncontent_type_overrides:\n  application/x-ndjson: text/plain\n";

const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/openapi.json");

/// Runs Python to its end; gives what it printed.
async fn python(path: &[&Path], arguments: &[&str]) -> String {
    let mut command = Command::new("python3");
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command.env("PYTHONPATH", std::env::join_paths(path).unwrap()).env("PYTHONDONTWRITEBYTECODE", "1");
    let Ok(output) = timeout(PATIENCE, command.output()).await else {
        panic!("python3 {arguments:?} still runs after {PATIENCE:?}")
    };
    let output = output.unwrap_or_else(|error| panic!("python3: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "python3 {arguments:?}: {}\n{text}\n{errors}", output.status);
    text
}

/// The folder that the tool is in.
async fn tool() -> PathBuf {
    static INSTALLED: OnceCell<PathBuf> = OnceCell::const_new();
    let install = async || {
        let (name, version) = TOOL;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{version}"));
        if !folder.exists() {
            // Moved there when it is whole.
            let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let (target, wanted) = (made.path().join("site"), format!("{name}=={version}"));
            let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
            let arguments: Vec<_> = quiet.into_iter().chain([target.to_str().unwrap(), &wanted]).collect();
            python(&[], &arguments).await;
            // Another run of the tests may have been faster.
            if std::fs::rename(&target, &folder).is_err() {
                assert!(folder.exists(), "{} can't be made", folder.display());
            }
        }
        folder
    };
    INSTALLED.get_or_init(install).await.clone()
}

/// How many operations are described.
fn operations() -> usize {
    let description: Value = serde_json::from_str(&std::fs::read_to_string(DESCRIPTION).unwrap()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    paths.values().map(|item| item.as_object().unwrap().len()).sum()
}

/// How many modules with an operation there are below a folder.
fn modules(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let count = |path: PathBuf| {
        if path.is_dir() {
            return modules(&path);
        }
        usize::from(!path.ends_with("__init__.py"))
    };
    entries.map(count).sum()
}

#[tokio::test]
async fn a_generated_client_has_all_operations_and_calls_them() {
    let site = tool().await;
    let made = tempfile::tempdir().unwrap();
    let (config, client) = (made.path().join("config.yml"), made.path().join("client"));
    std::fs::write(&config, CONFIG).unwrap();
    let (config, output) = (config.to_str().unwrap(), client.to_str().unwrap());
    let generate = ["-m", "openapi_python_client", "generate", "--path", DESCRIPTION, "--config", config];
    let strictly = ["--output-path", output, "--fail-on-warning"];
    python(&[&site], &[generate.as_slice(), &strictly].concat()).await;
    assert_eq!(modules(&client.join("parlor_client/api")), operations(), "an operation was left out");

    let server = Server::start(&[]).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/generators/calls.py");
    let url = format!("http://{}", server.address());
    let printed = python(&[&site, &client], &[script, &url, API_KEY]).await;
    assert_eq!(printed.trim(), "done");
}
