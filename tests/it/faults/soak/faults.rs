//! The faults of the soak test, a long test with random faults.

use std::time::Duration;

use futures_util::future::join_all;
use mongodb::bson::doc;

use super::world::{ROOMS, World};
use crate::support::{SeededRng, State};

/// The kinds of faults that the test causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    ServerKilled,
    ServerTerminated,
    BothServersKilled,
    PrimaryKilled,
    SecondaryKilled,
    AllDatabasesKilled,
    PrimarySteppedDown,
    PrimaryCut(State),
    DiskFull,
    HistoryLost,
    ClockJumped,
    DeafCame,
}

impl Fault {
    pub(super) const ALL: [Self; 15] = [
        Self::ServerKilled,
        Self::ServerTerminated,
        Self::BothServersKilled,
        Self::PrimaryKilled,
        Self::SecondaryKilled,
        Self::AllDatabasesKilled,
        Self::PrimarySteppedDown,
        Self::PrimaryCut(State::Cut),
        Self::PrimaryCut(State::Held),
        Self::PrimaryCut(State::HeldThere),
        Self::PrimaryCut(State::HeldBack),
        Self::DiskFull,
        Self::HistoryLost,
        Self::ClockJumped,
        Self::DeafCame,
    ];

    /// Tells whether the fault affects the database. During such a fault, both servers may be unready.
    pub(super) fn is_of_the_database(self) -> bool {
        match self {
            Self::PrimaryKilled
            | Self::AllDatabasesKilled
            | Self::PrimarySteppedDown
            | Self::PrimaryCut(_)
            | Self::DiskFull
            | Self::HistoryLost => true,
            Self::ServerKilled
            | Self::ServerTerminated
            | Self::BothServersKilled
            | Self::SecondaryKilled
            | Self::ClockJumped
            | Self::DeafCame => false,
        }
    }
}

/// The number of clients that connect and don't read, in the fault `DeafCame`.
const DEAF: usize = 100;

/// The maximum number of seconds by which a clock is set forward or back. It must be less than the remaining lifetime
/// of the tests' tokens, which is one hour from the token's creation.
const CLOCK: usize = 1_200;

impl World {
    /// Causes a fault, and then ends it. The clients continue to send during the fault if they can.
    pub(super) async fn inflict(&mut self, fault: Fault, rng: &mut SeededRng) {
        match fault {
            Fault::ServerKilled => {
                let at = rng.below(2);
                self.server_ends(at, "KILL").await;
                self.server_begins(at).await;
            }
            Fault::ServerTerminated => {
                let at = rng.below(2);
                self.server_ends(at, "TERM").await;
                self.server_begins(at).await;
            }
            Fault::BothServersKilled => {
                self.server_ends(0, "KILL").await;
                self.server_ends(1, "KILL").await;
                self.server_begins(0).await;
                self.server_begins(1).await;
            }
            Fault::PrimaryKilled => {
                let primary = self.primary().await;
                self.set[primary].kill().await;
                self.until_acknowledged(20).await;
                self.set[primary].restarted().await;
            }
            Fault::SecondaryKilled => {
                let secondary = (self.primary().await + 1) % 3;
                self.set[secondary].kill().await;
                self.until_acknowledged(20).await;
                self.set[secondary].restarted().await;
            }
            Fault::AllDatabasesKilled => {
                for mongod in &mut self.set {
                    mongod.kill().await;
                }
                for mongod in &mut self.set {
                    mongod.restarted().await;
                }
            }
            Fault::PrimarySteppedDown => {
                let primary = self.primary().await;
                self.set[primary].steps_down().await;
            }
            Fault::PrimaryCut(state) => {
                let primary = self.primary().await;
                self.links[primary].set(state);
                // In some of these states, the other members elect a new primary. In other states, they don't.
                self.lasts(Duration::from_secs(4)).await;
                self.links[primary].set(State::Open);
            }
            Fault::DiskFull => {
                let primary = self.primary().await;
                self.set[primary].fill_the_disk().await;
                self.lasts(Duration::from_secs(4)).await;
                self.set[primary].kill().await;
                self.set[primary].clear_the_disk();
                self.set[primary].restarted().await;
            }
            Fault::HistoryLost => {
                let primary = self.primary().await;
                let lost = doc! { "failCommands": ["aggregate", "getMore"], "errorCode": 286 };
                self.set[primary].fail("parlor", doc! { "times": 6 }, lost).await;
                self.until_acknowledged(10).await;
                self.set[primary].heal().await;
            }
            Fault::ClockJumped => {
                let ahead = i64::try_from(rng.below(2 * CLOCK)).unwrap() - i64::try_from(CLOCK).unwrap();
                self.clock.set(ahead);
            }
            Fault::DeafCame => {
                let (room, server) = (rng.below(ROOMS), &self.servers[rng.below(2)]);
                let query = format!("room_id={}", self.rooms[room].room);
                let dial = |_| server.dial_as(1, &query).receive_buffer(4096).open();
                let deaf = join_all((0..DEAF).map(dial)).await;
                self.until_acknowledged(200).await;
                drop(deaf);
            }
        }
    }
}
