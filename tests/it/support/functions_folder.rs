//! A folder of function files for a server.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::{Server, eventually_some};

/// A folder of function files. It is removed when this value is dropped.
pub(crate) struct FunctionsFolder {
    folder: tempfile::TempDir,
    path: String,
}

impl FunctionsFolder {
    /// Creates a folder with these files: their names and their content.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        let made = Self { folder, path };
        for (name, content) in files {
            made.write(name, content);
        }
        made
    }

    /// Returns the setting by which a server uses the folder. Together with a short `watch_ms`, for tests of changes.
    pub(crate) fn settings(&self) -> [(&str, &str); 2] {
        [("FUNCTIONS__FOLDER", &self.path), ("FUNCTIONS__WATCH_MS", "20")]
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in one step, as deployment tools do.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let fresh = path.with_extension("new");
        fs::write(&fresh, content).unwrap();
        fs::rename(fresh, path).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Waits until a server's list of functions fulfils a condition. Returns the entry of this function.
    pub(crate) async fn listed(server: &Server, name: &str, is_due: impl Fn(&Value) -> bool) -> Value {
        let probe = async || {
            let (status, list) = server.api_get("/functions").await;
            assert_eq!(status, 200, "{list}");
            let all = list["functions"].as_array().unwrap();
            all.iter().find(|function| function["name"] == name).filter(|function| is_due(function)).cloned()
        };
        eventually_some("the function is listed as expected", probe).await
    }
}
