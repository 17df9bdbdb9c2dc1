//! A common tool generates a client from the API's description (OpenAPI). The tool must understand the whole
//! description, and the generated client must make real calls. `clients/js/test/openapi.test.ts` tests a second tool.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{API_KEY, Server, python, python_packages};

/// The generator: the name and the version of a Python package.
const TOOL: &str = "openapi-python-client==0.29.1";

/// The generator's configuration: it treats JSON Lines as text, and does not format the generated code.
const CONFIG: &str = "post_hooks: []\ncontent_type_overrides:\n  application/x-ndjson: text/plain\n";

const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/openapi.json");

/// Returns the number of operations in the description.
fn operations() -> usize {
    let description: Value = serde_json::from_str(&std::fs::read_to_string(DESCRIPTION).unwrap()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    paths.values().map(|item| item.as_object().unwrap().len()).sum()
}

/// Returns the number of modules below a folder. The generator writes one module for each operation.
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
    let site = python_packages(&[TOOL]).await;
    let made = tempfile::tempdir().unwrap();
    let (config, client) = (made.path().join("config.yml"), made.path().join("client"));
    std::fs::write(&config, CONFIG).unwrap();
    let (config, output) = (config.to_str().unwrap(), client.to_str().unwrap());
    let generate = ["-m", "openapi_python_client", "generate", "--path", DESCRIPTION, "--config", config];
    let strictly = ["--output-path", output, "--fail-on-warning"];
    python(&[&site], &[generate.as_slice(), &strictly].concat()).await;
    assert_eq!(modules(&client.join("parlor_client/api")), operations(), "an operation was left out");

    let server = Server::start(&[]).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/http/generated_client_calls.py");
    let url = format!("http://{}", server.address());
    let printed = python(&[&site, &client], &[script, &url, API_KEY]).await;
    assert_eq!(printed.trim(), "done");
}
