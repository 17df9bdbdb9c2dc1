//! Decides which changed keys a running server applies, and which need a restart.

use super::{Config, ConfigError};

/// The keys that a reload applies. An entry that ends in a dot stands for a whole section.
const LIVE: &[&str] = &[
    "actions.",
    "admin.connections",
    "admin.connections_per_address",
    "api.keys",
    "auth.",
    "functions.",
    "hooks.",
    "http.connections_per_address",
    "http.discard_bytes",
    "http.discard_ms",
    "http.origins",
    "http.proxies",
    "limits.addresses_per_minute",
    "limits.connects_per_minute",
    "limits.documents_per_minute",
    "limits.event_bytes",
    "limits.frame_bytes",
    "limits.frames_per_minute",
    "limits.handler_ms",
    "limits.message_fragments",
    "limits.messages_per_minute",
    "limits.refusals_per_minute",
    "limits.rooms_per_minute",
    "limits.page_bytes",
    "limits.send_queue",
    "limits.send_queue_bytes",
    "limits.sockets",
    "limits.sockets_per_user",
    "limits.text_chars",
    "limits.user_bytes",
    "limits.write_ms",
    "rooms.",
    "shutdown.drain_seconds",
    "sockets.dead_seconds",
    "sockets.last_frames_ms",
    "sockets.min_bytes_per_second",
    "sockets.ping_seconds",
    "sockets.probe_ms",
    "sockets.unread_ms",
    "tls.certificate",
    "tls.key",
];

/// Returns whether a reload applies a change of this key.
pub(super) fn is_live(key: &str) -> bool {
    // The keys of `[functions]` itself need a restart, in contrast to the keys of each function.
    if key.strip_prefix("functions.").is_some_and(|rest| !rest.contains('.')) {
        return false;
    }
    LIVE.iter().any(|live| key == *live || (live.ends_with('.') && key.starts_with(live)))
}

/// The result of comparing a new configuration with the current configuration.
pub(crate) struct ConfigReload {
    /// The configuration after the reload. The keys that a reload applies have the new values. All other keys have
    /// the old values.
    pub(crate) config: Config,
    /// The changed keys that the reload applies.
    pub(crate) changed: Vec<String>,
    /// The changed keys that need a restart.
    pub(crate) restart: Vec<String>,
}

impl Config {
    /// Compares this configuration, which the server uses now, with `next`.
    ///
    /// # Errors
    /// The resulting configuration is invalid: a key that needs a restart keeps its old value, and this old value
    /// contradicts a new value in `next`.
    pub(crate) fn prepare_reload(&self, next: &Self) -> Result<ConfigReload, ConfigError> {
        let switches_tls = self.tls.files.is_some() != next.tls.files.is_some();
        let live = |key: &String| is_live(key) && !(switches_tls && key.starts_with("tls."));
        let (changed, restart): (Vec<_>, Vec<_>) =
            self.given.changed_keys(&next.given).into_iter().partition(live);
        let mut given = next.given.clone();
        for key in &restart {
            given.copy_key(key, &self.given);
        }
        let mut config = Self::of(given)?;
        // A server with the embedded `mongod` set `mongodb.uri` to the address of this `mongod` when the server
        // started. The configured URI is empty, so the reload must keep the current section.
        config.mongodb = self.mongodb.clone();
        Ok(ConfigReload { config, changed, restart })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: &[(&str, &str)]) -> Config {
        let env = settings.iter().map(|(key, value)| (format!("PARLOR__{key}"), (*value).to_owned()));
        Config::load(None, env).unwrap()
    }

    #[test]
    fn reload_applies_changeable_keys_and_names_the_rest() {
        let old = config(&[("LIMITS__BATCH", "7"), ("LIMITS__TEXT_CHARS", "10")]);
        let next =
            config(&[("LIMITS__TEXT_CHARS", "11"), ("LISTEN", "127.0.0.1:1"), ("AUTH__ISSUER", "app")]);
        let ConfigReload { config, changed, restart } = old.prepare_reload(&next).unwrap();
        assert_eq!(changed, ["auth.issuer", "limits.text_chars"]);
        assert_eq!(restart, ["limits.batch", "listen"]);
        assert_eq!((config.limits.text_chars, config.limits.batch), (11, 7));
        assert_eq!((config.listen, config.auth.issuer.as_deref()), (old.listen, Some("app")));
        assert!(config.prepare_reload(&config).unwrap().changed.is_empty());
    }

    #[test]
    fn a_section_is_not_taken_for_a_key_that_begins_alike() {
        for live in LIVE {
            let keys = include_str!("../../config/default.toml").parse::<toml::Table>().unwrap();
            let (section, key) = live.split_once('.').unwrap();
            let known = |key: &str| keys.get(section).is_some_and(|section| section.get(key).is_some());
            assert!(key.is_empty() || known(key.trim_end_matches('.')), "{live} is no key");
        }
    }

    #[test]
    fn tls_is_not_switched_on_or_off() {
        let dir = tempfile::tempdir().unwrap();
        let plain = config(&[]);
        let secure = |name: &str| {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            let [certificate, key] =
                ["certificate", "key"].map(|part| dir.path().join(format!("{name}.{part}")));
            std::fs::write(&certificate, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            let [certificate, key] = [&certificate, &key].map(|path| path.to_str().unwrap());
            config(&[("TLS__CERTIFICATE", certificate), ("TLS__KEY", key)])
        };
        let (secure, other) = (secure("one"), secure("other"));
        for (old, next) in [(&plain, &secure), (&secure, &plain)] {
            let reload = old.prepare_reload(next).unwrap();
            assert_eq!(reload.restart, ["tls.certificate", "tls.key"]);
            assert_eq!(reload.config.tls.files, old.tls.files);
        }
        let reload = secure.prepare_reload(&other).unwrap();
        assert_eq!((reload.config.tls.files, reload.restart.len()), (other.tls.files, 0));
    }

    #[test]
    fn a_change_that_does_not_go_with_what_stays_is_refused() {
        let old = config(&[("LISTEN", "0.0.0.0:1"), ("AUTH__SECRET", &"s".repeat(32))]);
        let error = old.prepare_reload(&config(&[])).err().unwrap();
        assert_eq!(error.key(), Some("listen"));
    }
}
