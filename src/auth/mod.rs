//! Verifies tokens, and returns the user that a token belongs to.
//!
//! [`Verifier`] returns a [`Caller`] only for a valid token. A valid token is signed by a configured key with a
//! configured algorithm, has not expired, is an access token, and names a user. Other modules decide which actions a
//! user may run, and close sockets whose tokens have expired.
//!
//! `signed` splits a token and checks its signature. `claims` and `kind` check its content. `issuer` fetches keys.
//! `renewal` replaces keys, and `in_force` records which keys were removed. `refused_clients` blocks clients that are
//! refused too often.

pub(crate) mod claims;
pub(crate) mod in_force;
pub(crate) mod issuer;
pub(crate) mod kind;
mod refusal_log;
pub(crate) mod refused;
pub(crate) mod refused_clients;
pub(crate) mod renewal;
pub(crate) mod secret;
pub(crate) mod signed;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use handlers::UserId;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::Map;
use tokio::sync::Notify;

use self::claims::ClaimRules;
pub(crate) use self::in_force::{CurrentKey, KeyState, TokenEnd};
use self::in_force::{KeyRemover, KeysInForce};
use self::issuer::Issuer;
pub use self::refused::TokenError;
use self::refused_clients::RefusedClients;
pub(crate) use self::renewal::RenewedRules;
pub use self::secret::{keep_own_secret, use_stored_secret};
use self::signed::SignedToken;
use crate::config::{AuthConfig, ConfigError, KeySource, NamedKey, TokenKey};

/// The maximum accepted difference between the clocks of an issuer and of this server. The protocol's documentation
/// promises this value.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// The maximum length of an e-mail address in bytes: 64 before the @, and 255 after it (RFC 5321, 4.5.3.1).
pub const MAX_EMAIL_BYTES: usize = 320;

/// The greatest `exp` that is used, in seconds since 1970. A greater `exp` is replaced by this value. `MAX_EXP` plus
/// [`LEEWAY`] is the last second of the year 9999, because RFC 3339 can't express a later time.
const MAX_EXP: u64 = 253_402_300_799 - LEEWAY.as_secs();

/// The user that a token belongs to, and the claims that Parlor uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user's id.
    pub user: UserId,
    /// The user's e-mail address. None if the token has no valid address, or if the issuer reports the address as
    /// unverified.
    pub email: Option<String>,
    /// The e-mail address, if the issuer reports it as unverified. Parlor neither stores nor shows this address.
    pub doubted_email: Option<String>,
    /// The time when the token stops being valid: its `exp` plus [`LEEWAY`], at most the end of the year 9999.
    pub expires_at: SystemTime,
    /// The state of the token's key: in use, or removed.
    pub(crate) key: KeyState,
}

/// Verifies tokens. Clones share one state.
#[derive(Clone)]
pub struct Verifier(Arc<VerifierState>);

struct VerifierState {
    /// The current keys and claim rules. A reload of the configuration and a fetch of the issuer's keys replace them.
    rules: ArcSwap<TokenRules>,
    /// The issuer (the service that signs the users' tokens) whose keys are fetched. None if the configuration has
    /// the keys themselves.
    issuer: ArcSwapOption<Issuer>,
    /// Locked while the rules or the issuer are replaced. After a fetch, the issuer's task takes this lock before it
    /// stores the fetched keys. If a reload has replaced the issuer during the fetch, the task drops the keys.
    changing: Mutex<KeysInForce>,
    /// Notified when a key was removed from use.
    removed: Notify,
}

struct TokenRules {
    keys: VerificationKeys,
    claims: ClaimRules,
    token_bytes: usize,
}

enum VerificationKeys {
    /// One key that verifies every token.
    One(Box<VerificationKey>),
    /// Several keys. A key may have a name, the `kid`. A token's header may name the key that signed the token.
    Several(Vec<(Option<String>, VerificationKey)>),
}

/// A key and its state: in use, or removed.
struct VerificationKey {
    key: TokenKey,
    state: KeyState,
}

impl Verifier {
    /// Creates a verifier with the configured keys. Reads the key files. [`Self::watch`] starts to fetch the keys of
    /// an issuer later.
    ///
    /// # Errors
    /// No key is configured, or [`Config::check`](crate::config::Config::check) would refuse the key.
    pub fn new(auth: &AuthConfig) -> Result<Self, ConfigError> {
        let mut rules = match auth.keys()? {
            KeySource::None => {
                return Err(ConfigError::new("auth.secret", "neither this nor another key is configured"));
            }
            KeySource::One(key) => TokenRules::new(auth, VerificationKeys::One(Box::new(key.into()))),
            KeySource::Set(set) => TokenRules::several(auth, set.keys),
            KeySource::Remote(_) => TokenRules::several(auth, Vec::new()),
        };
        let mut in_force = KeysInForce::default();
        in_force.replace(&mut rules, KeyRemover::Operator);
        Ok(Self(Arc::new(VerifierState {
            rules: ArcSwap::from_pointee(rules),
            issuer: ArcSwapOption::empty(),
            changing: Mutex::new(in_force),
            removed: Notify::new(),
        })))
    }

    /// Verifies a token, and returns the user that it names.
    ///
    /// # Errors
    /// Returns the reason of the first check that fails.
    pub fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        let rules = self.0.rules.load();
        if token.len() > rules.token_bytes {
            return Err(TokenError::too_long("the token is longer than auth.token_bytes"));
        }
        let token = SignedToken::parse(token)?;
        let Some(check) = rules.check(&token.header)? else {
            let unreachable = self.0.issuer.load().as_ref().is_some_and(|issuer| issuer.is_unreachable());
            return Err(if unreachable { NO_KEYS } else { UNKNOWN_KEY });
        };
        let claims = token.claims(&check.key.decoding)?;
        let caller = rules.claims.caller(token.header.typ.as_deref(), &claims)?;
        Ok(Caller { key: check.state.clone(), ..caller })
    }

    /// Verifies a token as [`verify`](Self::verify) does. If the token fails but may be signed by a new key of the
    /// issuer, fetches the issuer's keys and verifies the token again. The fetch takes `auth.fetch_ms` at most. The
    /// fetch is skipped if the previous fetch ended less than `auth.refetch_ms` ago. If `checks` is given, each
    /// verification first waits for a permit ([`acquire_check`](RefusedClients::acquire_check)).
    pub(crate) async fn verify_or_refetch(
        &self,
        token: &str,
        checks: Option<&RefusedClients>,
    ) -> Result<Caller, TokenError> {
        let verify = async || {
            let _turn = match checks {
                Some(checks) => checks.acquire_check().await,
                None => None,
            };
            self.verify(token)
        };
        let verified = verify().await;
        let Err(refused) = &verified else { return verified };
        let Some(issuer) = self.0.issuer.load_full().filter(|_| refused.may_be_signed_by_new_key()) else {
            return verified;
        };
        issuer.refetch().await;
        verify().await
    }

    /// Returns none if there is a key that can verify tokens. Otherwise returns the reason why no key is available
    /// yet, as a text for the operator.
    pub(crate) fn missing_keys(&self) -> Option<&'static str> {
        match &self.0.rules.load().keys {
            VerificationKeys::Several(keys) if keys.is_empty() => {
                Some("none could be fetched from the issuer yet")
            }
            VerificationKeys::Several(_) | VerificationKeys::One(_) => None,
        }
    }
}

impl From<TokenKey> for VerificationKey {
    fn from(key: TokenKey) -> Self {
        Self { key, state: KeyState::default() }
    }
}

impl TokenRules {
    fn new(auth: &AuthConfig, keys: VerificationKeys) -> Self {
        Self { keys, claims: ClaimRules::new(auth), token_bytes: auth.token_bytes }
    }

    fn several(auth: &AuthConfig, keys: Vec<NamedKey>) -> Self {
        let named = |NamedKey { name, key }| (name, key.into());
        Self::new(auth, VerificationKeys::Several(keys.into_iter().map(named).collect()))
    }

    /// Returns the key that a token's header names. Returns none if no key has this name. If the token names no key,
    /// returns the only key with the token's algorithm. If several keys have this algorithm, the token is refused.
    /// Parlor does not try several keys, because then any client could cause much work with each token.
    fn check(&self, header: &signed::Header) -> Result<Option<&VerificationKey>, TokenError> {
        let fits = |check: &VerificationKey| check.key.algorithms.contains(&header.algorithm);
        let keys = match &self.keys {
            VerificationKeys::One(check) => {
                return if fits(check) { Ok(Some(check)) } else { Err(WRONG_ALGORITHM) };
            }
            VerificationKeys::Several(keys) => keys,
        };
        let named = || keys.iter().filter(|(name, _)| header.key.is_none() || *name == header.key);
        if named().next().is_none() {
            return Ok(None);
        }
        let mut fitting = named().map(|(_, check)| check).filter(|check| fits(check));
        match (fitting.next(), fitting.next()) {
            (Some(check), None) => Ok(Some(check)),
            (Some(_), Some(_)) => Err(TokenError::new("the token doesn't say which key it is signed with")),
            (None, _) => Err(WRONG_ALGORITHM),
        }
    }
}

/// The error for a token with an unknown key while the issuer can't be reached. The token may be valid.
const NO_KEYS: TokenError = TokenError::no_keys("the issuer's keys are unavailable");

const UNKNOWN_KEY: TokenError = TokenError::about_key("the token's key is not known");

const WRONG_ALGORITHM: TokenError = TokenError::about_key("the token's algorithm is not accepted");

/// Signs a token for `user` that is valid from now on for `ttl`. A [`Verifier`] with the same `auth` accepts this
/// token. Works only with a shared secret (`auth.secret`). With a public key, only the holder of the private key can
/// sign tokens.
///
/// # Errors
/// There is no shared secret, or `Config::check` would refuse `auth`. The function also fails if `ttl` is shorter than
/// one second, is longer than `auth.max_lifetime_seconds`, or ends after the year 9999.
pub fn sign(
    auth: &AuthConfig,
    user: &UserId,
    email: Option<&str>,
    ttl: Duration,
) -> Result<String, AuthError> {
    let key = auth.key().map_err(|error| AuthError(error.to_string()))?;
    let (Some(secret), Some(key)) = (&auth.secret, key) else {
        return Err(AuthError("a token can be created only with auth.secret, which is not set".to_owned()));
    };
    let unsigned = |error: &dyn fmt::Display| AuthError(format!("the token can't be created: {error}"));
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| unsigned(&error))?.as_secs();
    let exp = now.checked_add(ttl.as_secs()).filter(|exp| (now + 1..=MAX_EXP).contains(exp));
    let exp =
        exp.ok_or_else(|| unsigned(&"its lifetime must be a second or more, and end before the year 10000"))?;

    if auth.max_lifetime.is_some_and(|most| ttl.as_secs() > most.as_secs()) {
        return Err(unsigned(&"its lifetime is longer than auth.max_lifetime_seconds"));
    }

    let required = auth.require.iter().map(|(claim, value)| (claim.clone(), value.as_str().into()));
    let mut claims: Map<_, _> = required.collect();
    claims.insert("iat".to_owned(), now.into());
    claims.insert("exp".to_owned(), exp.into());
    let texts = [("iss", &auth.issuer), ("aud", &auth.audience)];
    for (claim, text) in texts.into_iter().filter_map(|(claim, text)| Some((claim, text.as_deref()?))) {
        claims.insert(claim.to_owned(), text.into());
    }
    if let Some(email) = email {
        claims.insert(auth.email_claim.clone(), email.into());
    }
    let user = serde_json::to_value(user).map_err(|error| unsigned(&error))?;
    claims.insert(auth.user_claim.clone(), user);

    let mut header = Header::new(key.algorithms.first().copied().unwrap_or_default());
    if let Some(typ) = auth.types.first() {
        header.typ = Some(typ.clone());
    }
    let secret = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&header, &claims, &secret).map_err(|error| unsigned(&error))
}

/// The reason why a token or a secret can't be created, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthError(String);

impl fmt::Display for AuthError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for AuthError {}
