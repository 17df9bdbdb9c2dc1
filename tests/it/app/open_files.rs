//! The limit of open files. A shell or a container often sets a low limit. The server must raise the limit if the
//! system permits it. Otherwise the server must log a warning.

use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Database, PATIENCE, Process, shared_uri};

/// Starts the real binary through a shell, which sets the limits first.
fn parlor(limits: &str, database: &Database) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limits} && exec \"$0\""), env!("CARGO_BIN_EXE_parlor")]);
    for (key, value) in [
        ("LISTEN", "127.0.0.1:0"),
        ("ADMIN__LISTEN", ""),
        ("MONGODB__URI", shared_uri()),
        ("MONGODB__DATABASE", &database.name),
        ("AUTH__SECRET", "a secret of this test, at least 32 bytes long"),
    ] {
        command.env(format!("PARLOR__{key}"), value);
    }
    Process::start("parlor", command, Duration::from_secs(20))
}

#[tokio::test]
async fn a_low_soft_limit_is_raised() {
    let database = Database::new();
    let server = parlor("ulimit -Sn 128", &database);
    let address = server.says("serving on http://", 2 * PATIENCE).await;
    let address = address.trim_end_matches('/');
    let mut open = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: parlor\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        let answered = timeout(PATIENCE, stream.read_exact(&mut answer)).await;
        assert!(answered.is_ok_and(|read| read.is_ok()), "connection {n} is answered");
        assert_eq!(&answer, b"HTTP/1.1 200", "connection {n}");
        open.push(stream);
    }
}

#[tokio::test]
async fn a_hard_limit_below_the_bounds_is_warned_of() {
    let database = Database::new();
    let server = parlor("ulimit -n 4096", &database);
    let warning = server.says("the limit of open files is lower", 2 * PATIENCE).await;
    assert!(warning.contains("allowed=4096"), "{warning}");
    assert!(warning.contains("needed=30356"), "{warning}");
}
