//! Checks settings that are texts (URLs, names, origins), and settings whose values depend on each other.

use std::net::IpAddr;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use super::error::shown;
use super::layers::Values;
use super::ranges::MIN_API_KEY_CHARS;
use super::{ApiConfig, Config, ConfigError, HttpConfig, TlsFiles, TracesConfig, tls_files};

/// The default port of each scheme. Browsers leave the default port out of an origin.
const DEFAULT_PORTS: &[(&str, &str)] = &[("http://", ":80"), ("https://", ":443")];

impl Config {
    /// Checks the signing keys and their algorithms, names, origins, and relations between values. The ranges of
    /// single numbers were already checked when the values were read. If the server listens beyond loopback, a
    /// signing key must be configured. Reads the key files.
    ///
    /// # Errors
    /// Returns the first error that is found.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.auth.check()?;
        let beyond = !self.listen.ip().to_canonical().is_loopback();
        if beyond && !self.auth.has_key() {
            let fault = "beyond loopback a key of your own is required: set auth.secret, auth.public_key, auth.jwks or auth.discovery";
            return Err(ConfigError::new("listen", fault));
        }
        self.mongodb.check()?;
        self.api.check()?;
        self.http.check()?;
        self.tls.files.as_ref().map_or(Ok(()), tls_files::check)?;
        self.functions.iter().try_for_each(|(name, function)| function.check(name))?;
        self.hooks.check()?;
        if self.feed.stale <= self.feed.heartbeat {
            let fault = "must be more than feed.heartbeat_ms, or the server is never ready";
            return Err(ConfigError::new("feed.stale_ms", fault));
        }
        if self.feed.overdue <= self.feed.heartbeat || self.feed.overdue > self.feed.stale {
            let fault = "must be more than feed.heartbeat_ms, and feed.stale_ms at most";
            return Err(ConfigError::new("feed.overdue_ms", fault));
        }
        if self.feed.close <= self.feed.overdue {
            let fault = "must be more than feed.overdue_ms, or sockets are closed for nothing";
            return Err(ConfigError::new("feed.close_ms", fault));
        }
        if self.presence.silence < 2 * self.feed.heartbeat {
            let fault = "must be twice feed.heartbeat_ms or more, or servers that live are taken for dead";
            return Err(ConfigError::new("presence.silence_ms", fault));
        }
        self.traces.check()?;
        EnvFilter::try_new(&self.log.filter).map(|_| ()).map_err(|error| {
            ConfigError::new("log.filter", format!("{} is no filter: {error}", shown(&self.log.filter)))
        })
    }
}

impl TracesConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let Some(url) = &self.otlp else { return Ok(()) };
        if !cfg!(feature = "otlp") {
            return Err(ConfigError::new("traces.otlp", "this binary was built without the feature otlp"));
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            let fault = format!("takes a URL such as \"http://127.0.0.1:4318\", which {} is not", shown(url));
            return Err(ConfigError::new("traces.otlp", fault));
        }
        Ok(())
    }
}

impl ApiConfig {
    fn check(&self) -> Result<(), ConfigError> {
        for (key, at) in self.keys.iter().zip(1..) {
            let key = key.expose();
            if key.chars().count() < MIN_API_KEY_CHARS {
                let fault = format!("key {at} of the list has fewer than {MIN_API_KEY_CHARS} characters");
                return Err(ConfigError::new("api.keys", fault));
            }
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                let fault = format!("key {at} of the list must be visible ASCII without spaces");
                return Err(ConfigError::new("api.keys", fault));
            }
        }
        Ok(())
    }
}

impl TlsFiles {
    /// Reads the paths of the certificate and the key. They must be given together, or not at all.
    pub(super) fn read(values: &mut Values) -> Result<Option<Self>, ConfigError> {
        let (certificate, key) = (values.optional("tls.certificate")?, values.optional("tls.key")?);
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                Ok(Some(Self { certificate: certificate.into(), key: key.into() }))
            }
            (Some(_), None) => Err(values.fault("tls.certificate", "must be given with tls.key")),
            (None, Some(_)) => Err(values.fault("tls.key", "must be given with tls.certificate")),
        }
    }
}

impl HttpConfig {
    /// Returns an origin in the form that browsers send: in lower case, and without the default port of its scheme.
    pub(super) fn normal(origin: &str) -> String {
        let origin = origin.to_ascii_lowercase();
        let port = DEFAULT_PORTS.iter().find(|(scheme, _)| origin.starts_with(scheme)).map(|(_, port)| *port);
        match port.and_then(|port| origin.strip_suffix(port)) {
            Some(short) => short.to_owned(),
            None => origin,
        }
    }

    pub(super) fn read_proxies(values: &mut Values) -> Result<Vec<IpNet>, ConfigError> {
        let key = "http.proxies";
        let network = |text: &String| {
            let address = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
            let network = address.or_else(|_| text.parse::<IpNet>()).map(|network| network.trunc());
            network
                .map_err(|_| format!("{} is neither an address nor a network like 10.0.0.0/8", shown(text)))
        };
        let listed = values.list(key)?;
        let networks: Result<Vec<_>, String> = listed.iter().map(network).collect();
        networks.map_err(|fault| values.fault(key, fault))
    }

    fn check(&self) -> Result<(), ConfigError> {
        match self.origins.iter().find(|origin| !is_origin(origin)) {
            None => Ok(()),
            Some(origin) => {
                let hint = "scheme://host or scheme://host:port without a path; an empty list accepts any";
                let fault = format!("{} is not an origin: {hint}", shown(origin));
                Err(ConfigError::new("http.origins", fault))
            }
        }
    }
}

/// Returns whether the text is `scheme://host[:port]`. The host may be an IPv6 address in brackets. Every scheme is
/// allowed, because apps and browser extensions use other schemes than http and https.
fn is_origin(origin: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let scheme_char = |char: char| char.is_ascii_alphanumeric() || "+-.".contains(char);
    if !scheme.starts_with(|char: char| char.is_ascii_alphabetic()) || !scheme.chars().all(scheme_char) {
        return false;
    }
    let (host, port) = match authority.rsplit_once(':') {
        // If the part after the last colon ends in `]`, this colon is part of an IPv6 address without a port.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port_fits = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let host_char = |char: char| char.is_ascii_alphanumeric() || "-._".contains(char);
    let host_fits = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(host_char),
    };
    port_fits && host_fits
}
