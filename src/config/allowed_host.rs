//! `functions.<name>.hosts`: the hosts to which a function may send requests.

use std::net::IpAddr;

use reqwest::Url;

use super::error::shown;

/// An entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    /// The scheme. None: https, and plain http for this machine.
    scheme: Option<String>,
    /// The host in lower case. For an entry such as `*.example.com`, the part from the first dot on.
    host: String,
    /// Whether every host whose name ends with `host` is allowed.
    is_suffix: bool,
    /// The port. None: the default port of the URL's scheme.
    port: Option<u16>,
}

impl AllowedHost {
    /// Parses an entry: `api.example.com`, `api.example.com:8443`, `*.example.com`, or one of these with a scheme, such
    /// as `http://translator:8080`.
    ///
    /// # Errors
    /// The text is not an entry. The error says which entries are valid.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = || {
            format!(
                "takes hosts such as \"api.example.com\", \"*.example.com:8443\" or \"http://translator:8080\", which {} is not",
                shown(text)
            )
        };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        let (is_suffix, named) = match rest.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let url = format!("{}://{named}", scheme.as_deref().unwrap_or("https"));
        let url = Url::parse(&url).map_err(|_| fault())?;
        let only_host = url.path() == "/" && !named.ends_with('/') && !named.contains(['@', '?', '#', '*']);
        let host = url.host_str().filter(|_| only_host && matches!(url.scheme(), "http" | "https"));
        let Some(host) = host else { return Err(fault()) };
        // The URL leaves out a port that is the default of its scheme, so the port is taken from the text.
        let port = named.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let host = host.trim_end_matches('.');
        if is_suffix && (address(host).is_some() || !host.contains('.')) {
            return Err(fault());
        }
        let host = if is_suffix { format!(".{host}") } else { host.to_owned() };
        Ok(Self { scheme, host, is_suffix, port })
    }

    /// Returns whether the entry allows this URL.
    #[must_use]
    pub fn allows(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let host = host.trim_end_matches('.');
        let same = if self.is_suffix { host.ends_with(&self.host) } else { host == self.host };
        let scheme = match &self.scheme {
            Some(scheme) => url.scheme() == scheme,
            None => url.scheme() == "https" || (self.is_here() && url.scheme() == "http"),
        };
        let port = self.port.is_none_or(|port| url.port_or_known_default() == Some(port));
        same && scheme && port && (self.port.is_some() || url.port().is_none())
    }

    /// Returns whether the host may have a private address: it is written as an address, as `localhost`, or with
    /// `http://`. An entry for several hosts never allows private addresses.
    #[must_use]
    pub fn may_be_private(&self) -> bool {
        let is_plain = self.scheme.as_deref() == Some("http");
        !self.is_suffix && (is_plain || self.host == "localhost" || address(&self.host).is_some())
    }

    fn is_here(&self) -> bool {
        self.host == "localhost" || address(&self.host).is_some_and(|address| address.is_loopback())
    }
}

/// Returns the address that a URL's host is, if it is no name.
fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_allow_only_their_hosts_ports_and_schemes() {
        for (entry, allowed, refused) in [
            (
                "api.Example.com",
                &["https://api.example.com/x?y", "https://API.example.com:443/", "https://api.example.com./"]
                    [..],
                &[
                    "http://api.example.com/",
                    "https://api.example.com:8443/",
                    "https://x.api.example.com/",
                    "https://api.example.com.evil.example/",
                ][..],
            ),
            ("api.example.com:8443", &["https://api.example.com:8443/"], &["https://api.example.com/"]),
            (
                "*.example.com",
                &["https://a.example.com/", "https://a.b.example.com/"],
                &["https://example.com/", "https://evilexample.com/", "http://a.example.com/"],
            ),
            (
                "http://translator:8080",
                &["http://translator:8080/"],
                &["https://translator:8080/", "http://translator/"],
            ),
            (
                "127.0.0.1:9000",
                &["http://127.0.0.1:9000/", "https://127.0.0.1:9000/"],
                &["http://127.0.0.2:9000/"],
            ),
            ("[::1]", &["http://[::1]/", "https://[::1]/"], &["http://[::2]/", "http://[::1]:8080/"]),
            ("localhost:443", &["https://localhost/", "http://localhost:443/"], &["http://localhost/"]),
            ("10.0.0.1", &["https://10.0.0.1/"], &["http://10.0.0.1/"]),
        ] {
            let host = AllowedHost::parse(entry).unwrap();
            for url in allowed {
                assert!(host.allows(&url.parse().unwrap()), "{entry} refuses {url}");
            }
            for url in refused {
                assert!(!host.allows(&url.parse().unwrap()), "{entry} allows {url}");
            }
        }
    }

    #[test]
    fn only_addresses_and_plain_http_allow_private_addresses() {
        for (entry, private) in [
            ("a.example", false),
            ("*.a.example", false),
            ("https://a.example", false),
            ("http://*.a.example", false),
            ("localhost", true),
            ("10.0.0.1", true),
            ("http://a", true),
        ] {
            assert_eq!(AllowedHost::parse(entry).unwrap().may_be_private(), private, "{entry}");
        }
    }

    #[test]
    fn texts_that_are_no_hosts_are_refused() {
        for text in [
            "",
            "*",
            "*.com",
            "*.1.2.3.4",
            "a/b",
            "a/",
            "user@a",
            "ftp://a",
            "a?b",
            "a:99999",
            "a b",
            "*.*.a.b",
        ] {
            assert!(AllowedHost::parse(text).is_err(), "{text}");
        }
    }
}
