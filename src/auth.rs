//! A token, to whom it belongs.
//!
//! [`Verifier`] promises that a [`Caller`] comes only of a token that a configured key signed with a
//! configured algorithm, that is in force now, and that names a user. It leaves to others where in a request
//! the token stands, what the caller may do, and closing a socket when its token expires.

mod in_force;
pub(crate) mod issuer;
mod renewal;
mod secret;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use handlers::UserId;
use jsonwebtoken::errors::{Error as TokenError, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Notify;

pub(crate) use self::in_force::KeyState;
use self::in_force::{By, KeysInForce};
use self::issuer::Issuer;
pub(crate) use self::renewal::Renewed;
pub use self::secret::keep_secret;
use crate::config::{Auth, ConfigError, Key, Keys, NamedKey};

/// How far the clocks of whoever issues tokens and of this server may be apart; part of the protocol.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// The longest token that is looked at, in bytes. A handshake's headers hold no more in most servers.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The longest e-mail address that is believed, in bytes: 64 before the @, 255 after it (RFC 5321, 4.5.3.1).
pub const MAX_EMAIL_BYTES: usize = 320;

/// The latest `exp`, in seconds since 1970: with the leeway it is the last second of the year 9999, the last
/// that RFC 3339 can write. A time given in milliseconds by mistake is beyond it.
const MAX_EXP: u64 = 253_402_300_799 - LEEWAY.as_secs();

/// Whom a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// Their address; none where the token has none, or none that could be one.
    pub email: Option<String>,
    /// When the token is no longer good: its `exp` and [`LEEWAY`]. At most the end of the year 9999.
    pub expires_at: SystemTime,
    /// Whether the token's key is still in force.
    pub(crate) key: KeyState,
}

/// Checks tokens. A clone is the same one.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    /// What holds now: a reload replaces it, and so does an issuer's new key.
    rules: ArcSwap<Rules>,
    /// Who the keys come from, where they come from elsewhere.
    issuer: ArcSwapOption<Issuer>,
    /// Held by whoever replaces either: an issuer that was left must not bring its keys back.
    changing: Mutex<KeysInForce>,
    /// A key was taken away.
    removed: Notify,
}

struct Rules {
    keys: Checks,
    user_claim: String,
    email_claim: String,
}

enum Checks {
    /// Every token's.
    One(Box<Check>),
    /// Those of a set, by their names.
    Several(Vec<(Option<String>, Check)>),
}

/// A key, and what the library is to check with it.
struct Check {
    key: DecodingKey,
    validation: Validation,
    state: KeyState,
}

impl Verifier {
    /// Takes the keys in; files are read now and not again. Keys that come from an issuer are still to come: see
    /// [`Self::watch`].
    ///
    /// # Errors
    /// No key, or one that `Config::check` would refuse.
    pub fn new(auth: &Auth) -> Result<Self, ConfigError> {
        let mut rules = match auth.keys()? {
            Keys::None => {
                return Err(ConfigError::new("auth.secret", "neither this nor another key is given"));
            }
            Keys::One(key) => Rules::new(auth, Checks::One(Box::new(Check::new(auth, key)))),
            Keys::Set(keys) => Rules::several(auth, keys),
            Keys::Remote(_) => Rules::several(auth, Vec::new()),
        };
        let mut in_force = KeysInForce::default();
        in_force.renew(&mut rules, By::Operator);
        Ok(Self(Arc::new(Inner {
            rules: ArcSwap::from_pointee(rules),
            issuer: ArcSwapOption::empty(),
            changing: Mutex::new(in_force),
            removed: Notify::new(),
        })))
    }

    /// The caller that a token names.
    ///
    /// # Errors
    /// The first check that it fails.
    pub fn verify(&self, token: &str) -> Result<Caller, Refused> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refused("the token is too long"));
        }
        let rules = self.0.rules.load();
        let Some(check) = rules.check(token)? else {
            let away = self.0.issuer.load().as_ref().is_some_and(|issuer| issuer.is_away());
            return Err(if away { NO_KEYS } else { UNKNOWN_KEY });
        };
        let token = jsonwebtoken::decode::<Map<String, Value>>(token, &check.key, &check.validation)
            .map_err(|error| Refused::from(&error))?;
        // RFC 7515, 4.1.11: what must be understood and isn't refuses. The library passes over it.
        if token.header.crit.is_some() {
            return Err(Refused("the token has a critical extension"));
        }
        let claims = token.claims;
        let expires_at = expiry(&claims).ok_or(Refused("the token's exp is not a time in seconds"))?;
        // The library counts whole seconds, and would let a token live up to one longer than `expires_at`.
        if expires_at <= SystemTime::now() {
            return Err(EXPIRED);
        }
        Ok(Caller {
            user: rules.user(&claims).ok_or(Refused("the token names no user"))?,
            email: rules.email(&claims),
            expires_at,
            key: check.state.clone(),
        })
    }

    /// As [`verify`](Self::verify), but where whoever the keys come from may have another by now, under a new name or the
    /// same, they are asked first: that takes `auth.fetch_ms` at most, and is left out where it has just been done.
    pub(crate) async fn verify_or_ask(&self, token: &str) -> Result<Caller, Refused> {
        let verified = self.verify(token);
        let Err(refused) = &verified else { return verified };
        let Some(issuer) = self.0.issuer.load_full().filter(|_| refused.is_of_the_key()) else {
            return verified;
        };
        issuer.ask().await;
        self.verify(token)
    }

    /// What is missing until a token can be checked, if anything is.
    pub(crate) fn lacks_keys(&self) -> Option<&'static str> {
        match &self.0.rules.load().keys {
            Checks::Several(keys) if keys.is_empty() => Some("none could be had of the issuer yet"),
            Checks::Several(_) | Checks::One(_) => None,
        }
    }
}

impl Check {
    fn new(auth: &Auth, Key { decoding, algorithms }: Key) -> Self {
        Self { key: decoding, validation: validation(auth, algorithms), state: KeyState::default() }
    }
}

impl Rules {
    fn new(auth: &Auth, keys: Checks) -> Self {
        Self { keys, user_claim: auth.user_claim.clone(), email_claim: auth.email_claim.clone() }
    }

    fn several(auth: &Auth, keys: Vec<NamedKey>) -> Self {
        let named = |NamedKey { name, key }| (name, Check::new(auth, key));
        Self::new(auth, Checks::Several(keys.into_iter().map(named).collect()))
    }

    /// The key that a token is signed with, by its own word; none where that is not known. Where it doesn't say, it is
    /// the only one that could be: to try one after the other would be work that anyone can cause.
    fn check(&self, token: &str) -> Result<Option<&Check>, Refused> {
        let keys = match &self.keys {
            Checks::One(check) => return Ok(Some(check)),
            Checks::Several(keys) => keys,
        };
        let header = jsonwebtoken::decode_header(token).map_err(|error| Refused::from(&error))?;
        let named = || keys.iter().filter(|(name, _)| header.kid.is_none() || *name == header.kid);
        if named().next().is_none() {
            return Ok(None);
        }
        let mut fitting = named().filter(|(_, check)| check.validation.algorithms.contains(&header.alg));
        match (fitting.next(), fitting.next()) {
            (Some((_, check)), None) => Ok(Some(check)),
            (Some(_), Some(_)) => Err(Refused("the token doesn't say which key it is signed with")),
            (None, _) => Err(WRONG_ALGORITHM),
        }
    }

    fn user(&self, claims: &Map<String, Value>) -> Option<UserId> {
        let given = |claim: &str| claims.get(claim).filter(|value| !value.is_null());
        UserId::deserialize(given(&self.user_claim).or_else(|| given("sub"))?).ok()
    }

    fn email(&self, claims: &Map<String, Value>) -> Option<String> {
        let email = claims.get(&self.email_claim)?.as_str()?;
        let fits = (1..=MAX_EMAIL_BYTES).contains(&email.len()) && !email.contains(char::is_control);
        fits.then(|| email.to_owned())
    }
}

/// What the library is to check; its own defaults let more pass.
fn validation(auth: &Auth, algorithms: Vec<Algorithm>) -> Validation {
    let mut validation =
        Validation { algorithms, leeway: LEEWAY.as_secs(), validate_nbf: true, ..Validation::default() };
    // It compares `iss` and `aud` only where the token has them, unless they are required. Without an
    // audience to compare with it would refuse every token that has one.
    let mut required = vec!["exp"];
    if let Some(issuer) = auth.issuer.as_ref().or(auth.discovery.as_ref()) {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    match &auth.audience {
        Some(audience) => {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        None => validation.validate_aud = false,
    }
    validation.set_required_spec_claims(&required);
    validation
}

/// `exp` and the leeway. A fraction is allowed (RFC 7519, 2, `NumericDate`) and rounded down; a number past any
/// calendar, which the library takes as well, is not.
fn expiry(claims: &Map<String, Value>) -> Option<SystemTime> {
    let exp = claims.get("exp")?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from f64 saturates")]
    let exp = exp.as_u64().or_else(|| exp.as_f64().filter(|exp| *exp >= 0.0).map(|exp| exp as u64))?;
    let exp = Some(exp).filter(|exp| *exp <= MAX_EXP)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(exp) + LEEWAY)
}

/// Why a token is not accepted: a fixed text that holds nothing of the token, short enough for a close
/// reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(&'static str);

impl Refused {
    /// The text, 1 to 123 bytes.
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// Whether the same token may be good in a while.
    pub(crate) fn is_for_now(self) -> bool {
        self == NO_KEYS
    }

    /// Whether another key might have let it pass.
    fn is_of_the_key(self) -> bool {
        [NO_KEYS, UNKNOWN_KEY, WRONG_SIGNATURE, WRONG_ALGORITHM].contains(&self)
    }
}

/// Not the token's fault: whoever has its key can't be reached.
const NO_KEYS: Refused = Refused("the issuer's keys can't be had");

const UNKNOWN_KEY: Refused = Refused("the token's key is not known");

const WRONG_SIGNATURE: Refused = Refused("the token's signature is wrong");

const WRONG_ALGORITHM: Refused = Refused("the token's algorithm is not accepted");

const EXPIRED: Refused = Refused("the token has expired");

impl From<&TokenError> for Refused {
    fn from(error: &TokenError) -> Self {
        Self(match error.kind() {
            ErrorKind::ExpiredSignature => return EXPIRED,
            ErrorKind::ImmatureSignature => "the token is not in force yet",
            ErrorKind::InvalidSignature => return WRONG_SIGNATURE,
            ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => return WRONG_ALGORITHM,
            ErrorKind::InvalidIssuer => "the token's iss is not the expected one",
            ErrorKind::InvalidAudience => "the token's aud is not the expected one",
            ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
                "iss" => "the token has no iss",
                "aud" => "the token has no aud",
                _ => "the token has no exp",
            },
            ErrorKind::InvalidClaimFormat(_) => "the token's exp or nbf is not a time",
            // No JSON, no base64, not three parts, and also an `alg` that nobody knows, such as none.
            _ => "the token is malformed",
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.0)
    }
}

impl std::error::Error for Refused {}

/// A token for `user`, in force from now until `ttl` has passed, that a [`Verifier`] of the same `auth`
/// accepts. Needs a shared secret; whoever holds the private half of a public key signs their tokens
/// themselves.
///
/// # Errors
/// There is no shared secret, or `auth` is not as `Config::check` wants it, or `ttl` is under a second or
/// past the year 9999.
pub fn sign(auth: &Auth, user: &UserId, email: Option<&str>, ttl: Duration) -> Result<String, AuthError> {
    let key = auth.key().map_err(|error| AuthError(error.to_string()))?;
    let (Some(secret), Some(key)) = (&auth.secret, key) else {
        return Err(AuthError("tokens can only be made with auth.secret, and none is set".to_owned()));
    };
    let unsigned = |error: &dyn fmt::Display| AuthError(format!("the token can't be made: {error}"));
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| unsigned(&error))?.as_secs();
    let exp = now.checked_add(ttl.as_secs()).filter(|exp| (now + 1..=MAX_EXP).contains(exp));
    let exp =
        exp.ok_or_else(|| unsigned(&"its time must be a second or more, and end before the year 10000"))?;

    let mut claims = Map::new();
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

    let header = Header::new(key.algorithms.first().copied().unwrap_or_default());
    let secret = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&header, &claims, &secret).map_err(|error| unsigned(&error))
}

/// Why a token or a secret can't be made, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthError(String);

impl fmt::Display for AuthError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for AuthError {}
