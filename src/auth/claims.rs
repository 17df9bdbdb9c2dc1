//! Checks the claims of a token whose signature is valid, and reads the caller from the claims.

use std::time::{Duration, SystemTime};

use handlers::UserId;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::kind::{self, TokenPurpose};
use super::refused::TokenError;
use super::{Caller, KeyState, LEEWAY, MAX_EMAIL_BYTES, MAX_EXP};
use crate::config::AuthConfig;

/// An `exp` of 10^12 or more is refused, because the application must have written a time in milliseconds instead of
/// seconds. In milliseconds, 10^12 is in the year 2001. In seconds, it is in the year 33658, so the token would
/// practically never expire.
const IN_MILLISECONDS: i64 = 1_000_000_000_000;

/// The rules for claims, from the section `[auth]` of the configuration.
pub(super) struct ClaimRules {
    user_claim: String,
    email_claim: String,
    issuer: Option<String>,
    audience: Option<String>,
    require: Vec<(String, String)>,
    types: Vec<String>,
    max_lifetime: Option<Duration>,
}

impl ClaimRules {
    pub(super) fn new(auth: &AuthConfig) -> Self {
        Self {
            user_claim: auth.user_claim.clone(),
            email_claim: auth.email_claim.clone(),
            issuer: auth.issuer.as_ref().or(auth.discovery.as_ref()).cloned(),
            audience: auth.audience.clone(),
            require: auth.require.clone().into_iter().collect(),
            types: auth.types.iter().map(|accepted| kind::media_type(accepted)).collect(),
            max_lifetime: auth.max_lifetime,
        }
    }

    /// Returns whether these rules may refuse a token that the rules `before` accept, or name another user by it.
    pub(super) fn refuse_more_than(&self, before: &Self) -> bool {
        let names_another = |new: &Option<String>, old: &Option<String>| new.is_some() && new != old;
        let lacks_a_type = |old: &String| !self.types.contains(old);
        let shorter = |most| before.max_lifetime.is_none_or(|before| most < before);
        self.user_claim != before.user_claim
            || names_another(&self.issuer, &before.issuer)
            || names_another(&self.audience, &before.audience)
            || self.require.iter().any(|pair| !before.require.contains(pair))
            // Without configured types, a token needs no type.
            || (!self.types.is_empty() && (before.types.is_empty() || before.types.iter().any(lacks_a_type)))
            || (self.types.is_empty() && !before.types.is_empty())
            // A required claim is exempt from the rules for a token's purpose, and so are tokens with an audience.
            || before.require.iter().any(|(name, _)| !self.require.iter().any(|(kept, _)| kept == name))
            || (before.audience.is_some() && self.audience.is_none())
            || self.max_lifetime.is_some_and(shorter)
    }

    /// Checks all claims and the header's `typ` (the media type of the token), and returns the user that the token
    /// names.
    ///
    /// # Errors
    /// Returns the reason of the first check that fails. The times are checked before the values of other claims. So
    /// an expired token is reported as expired, even if other claims have wrong values.
    pub(super) fn caller(
        &self,
        typ: Option<&str>,
        claims: &Map<String, Value>,
    ) -> Result<Caller, TokenError> {
        let exp = given(claims, "exp").ok_or(TokenError::new("the token has no exp"))?;
        let exp = seconds(exp).ok_or(TokenError::new("the token's exp or nbf is not a time"))?;
        let issuers = texts(given(claims, "iss"));
        let audiences = texts(given(claims, "aud"));
        if self.issuer.is_some() && issuers.is_none() {
            return Err(TokenError::new("the token has no iss"));
        }
        if self.audience.is_some() && audiences.is_none() {
            return Err(TokenError::new("the token has no aud"));
        }
        let user = self.user(claims);
        let expires_at = self.times(exp, claims).map_err(|refused| refused.of_user(user.as_ref()))?;
        let names = |expected: &Option<String>, texts: Option<Vec<&str>>| {
            expected.as_deref().is_none_or(|expected| texts.is_some_and(|texts| texts.contains(&expected)))
        };
        if !names(&self.issuer, issuers) {
            return Err(TokenError::new("the token's iss is not the expected one"));
        }
        if !names(&self.audience, audiences) {
            return Err(TokenError::new("the token's aud is not the expected one"));
        }
        self.kind(typ, claims)?;
        let (email, doubted_email) = self.email(claims);
        let user = user.ok_or(TokenError::new("the token names no user"))?;
        Ok(Caller { user, email, doubted_email, expires_at, key: KeyState::default() })
    }

    /// Checks `exp` and `nbf`, and also `iat` if a maximum lifetime is configured. Returns the time when the token
    /// expires, with the leeway added.
    fn times(&self, exp: i64, claims: &Map<String, Value>) -> Result<SystemTime, TokenError> {
        let now = SystemTime::now();
        let seconds_now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let latest = i64::try_from(seconds_now + LEEWAY.as_secs()).unwrap_or(i64::MAX);
        if exp >= IN_MILLISECONDS {
            return Err(TokenError::new("the token's exp is not a time in seconds"));
        }
        let exp = exp.min(MAX_EXP.try_into().unwrap_or(i64::MAX));
        let good_for = Duration::from_secs(exp.try_into().unwrap_or(0)) + LEEWAY;
        let expires_at = SystemTime::UNIX_EPOCH + good_for;
        if expires_at <= now {
            return Err(TokenError::outside_its_time("the token has expired"));
        }
        let nbf = given(claims, "nbf").map(|nbf| seconds(nbf).ok_or("the token's exp or nbf is not a time"));
        if nbf.transpose().map_err(TokenError::new)?.is_some_and(|nbf| nbf > latest) {
            return Err(TokenError::outside_its_time("the token is not in force yet"));
        }
        let Some(most) = self.max_lifetime else { return Ok(expires_at) };
        let iat = given(claims, "iat").ok_or(TokenError::new("the token has no iat"))?;
        let iat = seconds(iat).ok_or(TokenError::new("the token's iat is not a time"))?;
        if iat > latest {
            return Err(TokenError::new("the token's iat is in the future"));
        }
        let most = i64::try_from(most.as_secs()).unwrap_or(i64::MAX);
        if exp.saturating_sub(iat) > most {
            return Err(TokenError::new("the token lives longer than is accepted"));
        }
        Ok(expires_at)
    }

    /// Checks that the token is for access, and has the claims that `auth.require` demands.
    fn kind(&self, typ: Option<&str>, claims: &Map<String, Value>) -> Result<(), TokenError> {
        let accepted = if self.types.is_empty() {
            typ.is_none_or(|typ| !kind::is_another_type(typ))
        } else {
            typ.is_some_and(|typ| self.types.contains(&kind::media_type(typ)))
        };
        if !accepted {
            return Err(TokenError::new("the token's typ is not accepted"));
        }
        for (claim, expected) in &self.require {
            if !given(claims, claim).is_some_and(|value| holds(value, expected)) {
                tracing::debug!(claim, "refusing a token without a claim that auth.require demands");
                return Err(TokenError::new("the token lacks a claim that is required"));
            }
        }
        // The operator has chosen the value of a required claim. So the general rules for a token's purpose ignore
        // this claim.
        let required = |claim: &str| self.require.iter().any(|(name, _)| name == claim);
        match kind::of(claims, self.audience.is_some(), required) {
            TokenPurpose::Access => Ok(()),
            TokenPurpose::Other => Err(TokenError::new("the token says that it is not an access token")),
            TokenPurpose::IdOfUnknownAudience => {
                Err(TokenError::new("an ID token is accepted only with auth.audience set"))
            }
        }
    }

    fn user(&self, claims: &Map<String, Value>) -> Option<UserId> {
        UserId::deserialize(given(claims, &self.user_claim).or_else(|| given(claims, "sub"))?).ok()
    }

    /// Returns two values, and sets at most one of them: the e-mail address that Parlor may show, and the e-mail
    /// address that the issuer reports as unverified.
    fn email(&self, claims: &Map<String, Value>) -> (Option<String>, Option<String>) {
        let email = claims.get(&self.email_claim).and_then(Value::as_str);
        let fits =
            |email: &&str| (1..=MAX_EMAIL_BYTES).contains(&email.len()) && !email.contains(char::is_control);
        let Some(email) = email.filter(fits).map(str::to_owned) else { return (None, None) };
        let verified = [claims.get("email_verified"), claims.get(&format!("{}_verified", self.email_claim))];
        if verified.into_iter().flatten().any(is_false) { (None, Some(email)) } else { (Some(email), None) }
    }
}

/// Returns a claim. A claim with the value null counts as missing.
fn given<'a>(claims: &'a Map<String, Value>, claim: &str) -> Option<&'a Value> {
    claims.get(claim).filter(|value| !value.is_null())
}

/// Reads a `NumericDate` (RFC 7519, 2): seconds since 1970, rounded down to whole seconds. A value beyond the range
/// of `i64` becomes the nearest `i64`.
fn seconds(value: &Value) -> Option<i64> {
    let whole = value.as_i64().or_else(|| value.as_u64().map(|_| i64::MAX));
    #[expect(clippy::cast_possible_truncation, reason = "a cast from f64 saturates")]
    whole.or_else(|| value.as_f64().map(|fraction| fraction.floor() as i64))
}

/// Reads a string, or a list of strings. Returns none for any other value.
fn texts(value: Option<&Value>) -> Option<Vec<&str>> {
    match value? {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// Returns whether a claim equals the expected value or contains it. A list contains its items. A string such as the
/// claim `scope` contains the words between its spaces.
fn holds(value: &Value, expected: &str) -> bool {
    match value {
        Value::String(text) => text == expected || text.split(' ').any(|word| word == expected),
        Value::Bool(flag) => flag.to_string() == expected,
        Value::Number(number) => number.to_string() == expected,
        Value::Array(items) => items.iter().any(|item| match item {
            Value::String(text) => text == expected,
            Value::Array(_) => false,
            item => holds(item, expected),
        }),
        Value::Null | Value::Object(_) => false,
    }
}

/// Returns whether a value means false. Some issuers write booleans as strings or numbers.
fn is_false(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => !flag,
        Value::String(text) => text.eq_ignore_ascii_case("false") || text == "0",
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(change: impl FnOnce(&mut ClaimRules)) -> ClaimRules {
        let texts = |text: &str| Some(text.to_owned());
        let mut rules = ClaimRules {
            user_claim: "user_id".to_owned(),
            email_claim: "email".to_owned(),
            issuer: texts("issuer"),
            audience: None,
            require: vec![("tenant".to_owned(), "a".to_owned())],
            types: Vec::new(),
            max_lifetime: Some(Duration::from_mins(1)),
        };
        change(&mut rules);
        rules
    }

    #[test]
    fn rules_refuse_more_only_when_they_are_stricter() {
        let before = rules(|_| ());
        let stricter = |change: fn(&mut ClaimRules)| rules(change).refuse_more_than(&before);
        assert!(stricter(|rules| rules.user_claim = "sub".to_owned()));
        assert!(stricter(|rules| rules.issuer = Some("another".to_owned())));
        assert!(stricter(|rules| rules.audience = Some("chat".to_owned())));
        assert!(stricter(|rules| rules.require.push(("chat".to_owned(), "true".to_owned()))));
        assert!(stricter(|rules| rules.require[0].1 = "b".to_owned()));
        assert!(stricter(|rules| rules.require.clear()), "a required claim is exempt from other checks");
        assert!(stricter(|rules| rules.types.push("at+jwt".to_owned())));
        assert!(stricter(|rules| rules.max_lifetime = Some(Duration::from_secs(59))));

        assert!(!stricter(|_| ()));
        assert!(!stricter(|rules| rules.email_claim = "mail".to_owned()));
        assert!(!stricter(|rules| rules.issuer = None));
        assert!(!stricter(|rules| rules.max_lifetime = None));
        assert!(!stricter(|rules| rules.max_lifetime = Some(Duration::from_secs(61))));

        let typed = rules(|rules| rules.types = vec!["at+jwt".to_owned(), "jwt".to_owned()]);
        assert!(rules(|rules| rules.types = vec!["jwt".to_owned()]).refuse_more_than(&typed));
        assert!(before.refuse_more_than(&typed));
        let audience = rules(|rules| rules.audience = Some("chat".to_owned()));
        assert!(before.refuse_more_than(&audience), "an ID token needs an audience");
    }
}
