//! Receipt markers, and the status of a message that follows from them.

use std::borrow::Borrow;

use handlers::{MessageId, Status, UserId};

/// A member's receipt markers in a room. All messages up to the number `delivered` are delivered to the member. All
/// messages up to the number `read` are read by the member. `read` is never greater than `delivered`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) delivered: i64,
    pub(crate) read: i64,
}

impl Marks {
    /// Returns the greater `delivered` and the greater `read` of the two values.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { delivered: self.delivered.max(other.delivered), read: self.read.max(other.read) }
    }
}

/// Returns the status of a message. `others` has the lowest markers of the members other than the message's author.
fn status(others: Option<Marks>, id: MessageId) -> Status {
    match others {
        Some(marks) if marks.read >= id.get() => Status::Read,
        Some(marks) if marks.delivered >= id.get() => Status::Delivered,
        _ => Status::Send,
    }
}

/// The lowest receipt markers of a room. For each member, this type also gives the lowest markers of the other members.
/// Therefore one computation is enough for the messages of all authors: a message's status depends on all members
/// except its author.
#[derive(Debug)]
pub(crate) struct MinMarks<User> {
    delivered: LowestMark<User>,
    read: LowestMark<User>,
}

#[derive(Debug)]
struct LowestMark<User> {
    number: i64,
    whose: User,
    /// The lowest number among all members except `whose`. `None` if there is no other member.
    next: Option<i64>,
}

impl<User: Borrow<UserId> + Clone> MinMarks<User> {
    /// Computes the lowest markers of these members. Returns None if there are no members.
    pub(crate) fn of(mut members: impl Iterator<Item = (User, Marks)>) -> Option<Self> {
        let (user, Marks { delivered, read }) = members.next()?;
        let first = |number| LowestMark { number, whose: user.clone(), next: None };
        let mut lowest = Self { delivered: first(delivered), read: first(read) };
        for (user, Marks { delivered, read }) in members {
            lowest.delivered.lower(&user, delivered);
            lowest.read.lower(&user, read);
        }
        Some(lowest)
    }

    /// Returns the lowest markers among all members except `user`. Returns None if there is no other member.
    pub(crate) fn excluding(&self, user: &UserId) -> Option<Marks> {
        Some(Marks { delivered: self.delivered.excluding(user)?, read: self.read.excluding(user)? })
    }

    /// Returns the status of a message that `author` wrote.
    pub(crate) fn status(&self, author: &UserId, message: MessageId) -> Status {
        status(self.excluding(author), message)
    }
}

impl MinMarks<&UserId> {
    /// Clones the user ids, so that the result can be stored.
    pub(crate) fn owned(self) -> MinMarks<UserId> {
        let own = |LowestMark { number, whose, next }: LowestMark<&UserId>| LowestMark {
            number,
            whose: whose.clone(),
            next,
        };
        MinMarks { delivered: own(self.delivered), read: own(self.read) }
    }
}

impl<User: Borrow<UserId> + Clone> LowestMark<User> {
    fn lower(&mut self, user: &User, number: i64) {
        if number < self.number {
            self.next = Some(self.number);
            (self.number, self.whose) = (number, user.clone());
        } else {
            self.next = Some(self.next.map_or(number, |next| next.min(number)));
        }
    }

    fn excluding(&self, user: &UserId) -> Option<i64> {
        if self.whose.borrow() == user { self.next } else { Some(self.number) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lowest_markers_exclude_the_given_user(members in prop::collection::vec((0_i64..5, 0_i64..5), 0..6), but in 0_i64..6) {
            let marks = |(delivered, read): &(i64, i64)| Marks { delivered: *delivered, read: *read };
            let users: Vec<_> = (0..6).map(UserId::Int).collect();
            let all: Vec<_> = users.iter().zip(members.iter().map(marks)).collect();
            let others = || all.iter().filter(|(user, _)| **user != UserId::Int(but)).map(|(_, marks)| marks);
            let delivered = others().map(|marks| marks.delivered).min();
            let read = others().map(|marks| marks.read).min();
            let expected = delivered.zip(read).map(|(delivered, read)| Marks { delivered, read });
            let lowest = MinMarks::of(all.iter().copied());
            prop_assert_eq!(lowest.and_then(|lowest| lowest.excluding(&UserId::Int(but))), expected);
        }
    }
}
