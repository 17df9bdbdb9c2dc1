//! `parlor health`: asks the server of this machine whether it is healthy.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use parlor::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::admin::reachable;
use crate::Failure;

/// The longest time for the server's answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends a request to `/healthz` on the listener for clients. If this listener uses TLS, sends the request to
/// the admin listener, which doesn't use TLS.
pub(crate) async fn run(config: Config) -> Result<ExitCode, Failure> {
    let address = match (&config.tls.files, config.admin.listen) {
        (None, _) => config.listen,
        (Some(_), Some(admin)) => admin,
        (Some(_), None) => return Err("with TLS, health is checked at admin.listen, which is not set".into()),
    };
    let address = reachable(address);
    let request = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(
                format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
            )
            .await?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer =
        tokio::time::timeout(TIMEOUT, request).await.map_err(|_| format!("{address} does not answer"))?;
    let answer = answer.map_err(|error| format!("{address} does not answer: {error}"))?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(ExitCode::SUCCESS)
    } else {
        Err("the server is not healthy".into())
    }
}
