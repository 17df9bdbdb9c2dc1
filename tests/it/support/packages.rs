//! Python and Node packages that tests use. The first test that needs a package installs it into the target folder.
//! Later runs use the installed package.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The longest time that a package manager, or a program of a package, may take.
const PACKAGE_PATIENCE: Duration = Duration::from_mins(5);

/// Only one installation runs at a time, because two tests may need the same folder.
static INSTALLING: Mutex<()> = Mutex::const_new(());

/// Runs Python until it ends, with these folders in `PYTHONPATH`. Returns its output.
pub(crate) async fn python(path: &[&Path], arguments: &[&str]) -> String {
    let mut command = Command::new("python3");
    command.args(arguments);
    command.env("PYTHONPATH", std::env::join_paths(path).unwrap()).env("PYTHONDONTWRITEBYTECODE", "1");
    run("python3", command).await
}

/// Returns the folder that contains these Python packages, each given as `name==version`. Installs them if necessary.
pub(crate) async fn python_packages(wanted: &[&str]) -> PathBuf {
    installed(&wanted.join("+"), async |folder| {
        let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
        let arguments: Vec<_> =
            quiet.into_iter().chain([folder.to_str().unwrap()]).chain(wanted.iter().copied()).collect();
        python(&[], &arguments).await;
    })
    .await
}

/// Returns the folder whose `node_modules` contains these npm packages, each given as `name@version`. Installs them if
/// necessary.
pub(crate) async fn node_packages(wanted: &[&str]) -> PathBuf {
    let name = wanted.join("+").replace('/', "-");
    installed(&name, async |folder| {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("package.json"), "{}").unwrap();
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact"]).args(wanted);
        npm.current_dir(folder);
        run("npm", npm).await;
    })
    .await
}

/// Runs a program until it ends. The program must succeed. Returns its output.
pub(crate) async fn run(name: &str, mut command: Command) -> String {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let Ok(output) = timeout(PACKAGE_PATIENCE, command.output()).await else {
        panic!("{command:?} still runs after {PACKAGE_PATIENCE:?}")
    };
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}\n{errors}", output.status);
    text
}

/// Returns a folder of this name in the target folder. If the folder is missing, calls `install` to make it.
pub(crate) async fn installed(name: &str, install: impl AsyncFnOnce(&Path)) -> PathBuf {
    let _installing = INSTALLING.lock().await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !folder.exists() {
        // The folder gets its final name only when it is complete.
        let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let target = made.path().join("packages");
        install(&target).await;
        // A concurrent run of the tests may already have made the folder. Then the rename fails.
        if std::fs::rename(&target, &folder).is_err() {
            assert!(folder.exists(), "{} cannot be made", folder.display());
        }
    }
    folder
}
