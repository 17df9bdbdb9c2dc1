//! Why a token is refused.

use std::fmt;

use handlers::UserId;

/// Why a token is not accepted: a fixed text that holds nothing of the token, short enough for a close
/// reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    reason: &'static str,
    class: Class,
}

/// What else is known of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Class {
    /// The token may be anyone's.
    Bad,
    /// Another key might have let it pass.
    OfTheKey,
    /// Whoever has the key can't be reached: the same token may be good in a while.
    NoKeys,
    /// It has more bytes than are read.
    TooLong,
    /// A known key has signed it for this user, but its time is over or has not begun.
    Untimely(Option<UserId>),
}

impl Refused {
    pub(super) const fn new(reason: &'static str) -> Self {
        Self { reason, class: Class::Bad }
    }

    pub(super) const fn of_the_key(reason: &'static str) -> Self {
        Self { reason, class: Class::OfTheKey }
    }

    pub(super) const fn no_keys(reason: &'static str) -> Self {
        Self { reason, class: Class::NoKeys }
    }

    pub(super) const fn too_long(reason: &'static str) -> Self {
        Self { reason, class: Class::TooLong }
    }

    pub(super) const fn untimely(reason: &'static str) -> Self {
        Self { reason, class: Class::Untimely(None) }
    }

    /// Adds whose the token is, where it is refused only for its time.
    pub(super) fn of_user(self, user: Option<&UserId>) -> Self {
        match self.class {
            Class::Untimely(_) => Self { class: Class::Untimely(user.cloned()), ..self },
            _ => self,
        }
    }

    /// The text, 1 to 123 bytes.
    pub const fn as_str(&self) -> &'static str {
        self.reason
    }

    /// Whether the same token may be good in a while.
    pub(crate) fn is_for_now(&self) -> bool {
        self.class == Class::NoKeys
    }

    /// Whether the token was over `auth.token_bytes`.
    pub(crate) fn is_too_long(&self) -> bool {
        self.class == Class::TooLong
    }

    /// The user whose token is outside of its time; none where the token may be a guess.
    pub(crate) fn untimely_user(&self) -> Option<&UserId> {
        match &self.class {
            Class::Untimely(user) => user.as_ref(),
            _ => None,
        }
    }

    /// Whether another key might have let it pass.
    pub(super) fn is_of_the_key(&self) -> bool {
        matches!(self.class, Class::OfTheKey | Class::NoKeys)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.reason)
    }
}

impl std::error::Error for Refused {}
