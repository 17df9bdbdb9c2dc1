//! A disk that can be full: a file system in memory, mounted in its own mount namespace (namespaces(7)). So other
//! processes don't see the disk, and the mount needs no privilege.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use mongodb::bson::doc;
use tokio::process::Command;

use super::Mongod;

/// A mounted disk. The process `holder` keeps the mount, and ends with the test process.
pub(super) struct Disk {
    holder: Child,
    at: PathBuf,
}

impl Disk {
    /// Mounts a disk of this many MiB over an empty directory.
    pub(super) fn at(directory: &Path, mib: u32) -> Self {
        // After the output `mounted`, the holder waits until its input is closed.
        let script = r#"mount -t tmpfs -o "$2" tmpfs "$1" && echo mounted && exec cat"#;
        let mut holder = std::process::Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .arg(directory)
            .arg(format!("size={mib}m"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("unshare(1) can't be run, of util-linux: {error}"));
        let mut said = String::new();
        let _ = BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said);
        if said != "mounted\n" {
            let _ = holder.kill();
            let _ = holder.wait();
            let mut why = String::new();
            let _ = holder.stderr.take().unwrap().read_to_string(&mut why);
            panic!(
                "a disk that can be full is a mount of its own, which this machine doesn't allow: {why}\nAllow it \
                 (sysctl kernel.unprivileged_userns_clone=1; on Ubuntu \
                 kernel.apparmor_restrict_unprivileged_userns=0), or run this test as root"
            );
        }
        Self { holder, at: directory.to_owned() }
    }

    /// Returns a command that runs a program in the disk's namespaces, where it sees the disk.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.holder.id().to_string(),
            "--user",
            "--mount",
            "--preserve-credentials",
        ]);
        command.arg(program);
        command
    }

    /// Returns the path of the file that fills the disk, as the test process sees it.
    fn filler(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.at.strip_prefix("/").unwrap()).join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl Mongod {
    /// Fills the disk of this `mongod`. Then makes the `mongod` write its pending data to the full disk.
    pub(crate) async fn fill_the_disk(&self) {
        let mut filler = std::fs::File::create(self.disk().filler()).unwrap();
        let zeros = vec![0; 1 << 16];
        let mut step = zeros.len();
        // The disk must be full to the last byte. If a large write fails, a smaller write may still succeed.
        while step > 0 {
            if filler.write_all(&zeros[..step]).is_err() {
                step /= 2;
            }
        }
        // `mongod` may end because of the full disk, and not answer.
        let _ = self.database("admin").await.run_command(doc! { "fsync": 1 }).await;
    }

    /// Deletes the file that fills the disk.
    pub(crate) fn clear_the_disk(&self) {
        std::fs::remove_file(self.disk().filler()).unwrap();
    }

    fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("it was started on a disk")
    }
}
