//! Parses the URLs of the application's servers and of key sets (JWKS).

use std::fmt;

use reqwest::Url;

/// The reason why a URL can't be used. The text never contains the URL, because a URL may contain a
/// secret.
#[derive(Debug)]
pub struct UnusableUrl(String);

impl UnusableUrl {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for UnusableUrl {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for UnusableUrl {}

/// Parses the URL of a server to which Parlor sends requests.
///
/// # Errors
/// The text is no URL, its scheme is neither `http` nor `https`, or it contains a user name or password.
pub(crate) fn parse(url: &str) -> Result<Url, UnusableUrl> {
    let parsed = Url::parse(url).map_err(|_| UnusableUrl::new("is no URL"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(UnusableUrl::new("must begin with http:// or https://"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(UnusableUrl::new("must have no login in it: requests are signed with the secret"));
    }
    Ok(parsed)
}

/// Returns whether the host of a URL is this machine: `localhost` or a loopback address.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
        }
        None => false,
    }
}
