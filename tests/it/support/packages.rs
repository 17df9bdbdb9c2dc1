//! Python and Node packages that tests use. They are installed once into the target folder and then kept.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long a package manager, or a program of a package, may take.
const PACKAGE_PATIENCE: Duration = Duration::from_mins(5);

/// Serialises installations: two tests may need the same folder.
static INSTALLING: Mutex<()> = Mutex::const_new(());

/// Runs Python to its end with these folders of modules. Returns what it printed.
pub(crate) async fn python(path: &[&Path], arguments: &[&str]) -> String {
    let mut command = Command::new("python3");
    command.args(arguments);
    command.env("PYTHONPATH", std::env::join_paths(path).unwrap()).env("PYTHONDONTWRITEBYTECODE", "1");
    run("python3", command).await
}

/// Returns the folder with the Python packages, each `name==version`.
pub(crate) async fn python_packages(wanted: &[&str]) -> PathBuf {
    installed(&wanted.join("+"), async |folder| {
        let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
        let arguments: Vec<_> =
            quiet.into_iter().chain([folder.to_str().unwrap()]).chain(wanted.iter().copied()).collect();
        python(&[], &arguments).await;
    })
    .await
}

/// Returns the folder whose `node_modules` has the packages of npm, each `name@version`.
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

/// Runs a program to its end. Returns what it printed.
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

/// Returns a folder in the target folder, which `install` makes if it is missing.
pub(crate) async fn installed(name: &str, install: impl AsyncFnOnce(&Path)) -> PathBuf {
    let _installing = INSTALLING.lock().await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !folder.exists() {
        // The folder gets its name when it is complete.
        let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let target = made.path().join("packages");
        install(&target).await;
        // Another run of the tests may have been faster.
        if std::fs::rename(&target, &folder).is_err() {
            assert!(folder.exists(), "{} cannot be made", folder.display());
        }
    }
    folder
}
