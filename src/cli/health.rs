//! `parlor health`: asks the server of this machine whether it is healthy.

use std::process::ExitCode;
use std::time::Duration;

use parlor::config::Config;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};

use super::admin::{cause, reachable};
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
    // No certificates: the request does not use TLS, and a container checks its health often.
    let http = Client::builder().no_proxy().redirect(Policy::none()).tls_certs_only([]);
    let request = http.timeout(TIMEOUT).build()?.get(format!("http://{address}/healthz"));
    // The status says all. The body is not read, so it needs no bound.
    let answer = request.send().await.map_err(|error| {
        let cause = if error.is_timeout() { String::new() } else { format!(": {}", cause(&error)) };
        format!("{address} does not answer{cause}")
    })?;
    if answer.status() == StatusCode::OK {
        Ok(ExitCode::SUCCESS)
    } else {
        Err("the server is not healthy".into())
    }
}
