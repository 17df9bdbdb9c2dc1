//! Unread counts are exact after any crash. A server is killed under load. Then each device's counts are compared with
//! the documents in the database.

use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use serde_json::json;

use super::device_model::{self, Device, Model, Room, USERS, Unread, one_of, rooms_of, unread_in, unread_of};
use super::inbox;
use crate::support::{Program, SeededRng, eventually, seed};

/// The number of rounds. In each round one server is killed.
const ROUNDS: usize = 12;

/// The number of actions in a burst is random and less than this bound.
const BURST: usize = 60;

/// Devices choose the message to edit, delete or mark as read only among this number of last messages. A `read` also
/// marks all earlier messages as read. So most older messages are read, and the server need not count them.
const LATEST: usize = 10;

/// Two server processes, the devices of three users on them, and the contents of their database.
struct World {
    servers: [Program; 2],
    messages: Collection<Document>,
    members: Collection<Document>,
    /// Receipt markers that may still be missing in members' documents (the collection `marks`).
    journal: Collection<Document>,
    devices: Vec<Device>,
    /// The acknowledged changes. [`Self::read_the_documents`] replaces them with the contents of the documents.
    model: Model,
    rng: SeededRng,
    said: usize,
    /// The number of frames that were lost because their server was killed before it answered them.
    unanswered: usize,
    /// The number of unread messages in all comparisons, by the documents.
    counted: i64,
}

impl World {
    /// Lets a device do a random action, without waiting for the answer.
    async fn act(&mut self, at: usize) {
        let Self { devices, model, rng, .. } = self;
        let device = &mut devices[at];
        let id = one_of(rng, &rooms_of(model, device.user)).unwrap();
        let room = &model[&id];
        match rng.below(12) {
            what @ 0..=2 => {
                if let Some(message) = one_of(rng, latest(&room.own(device.user))) {
                    let action = if what == 0 { "delete" } else { "edit" };
                    let text = format!("{message}, changed");
                    let frame = json!({"action": action, "room_id": id, "message_id": message, "text": text});
                    device.ask(frame).await;
                }
            }
            3 => {
                let known: Vec<_> = room.said.keys().copied().collect();
                if let Some(message) = one_of(rng, latest(&known)) {
                    let read = json!({"action": "read", "room_id": id, "message_id": message});
                    device.client.send(read).await;
                }
            }
            4 => {
                let open = &mut device.rooms.entry(id).or_default().open;
                *open = !*open;
                let action = if *open { "open" } else { "close" };
                device.client.send(json!({"action": action, "room_id": id})).await;
            }
            _ => {
                self.said += 1;
                let text = self.said.to_string();
                device.ask(json!({"action": "send", "room_id": id, "message": text})).await;
            }
        }
    }

    /// Lets these devices do many random actions.
    async fn burst(&mut self, devices: &[usize]) {
        for _ in 0..self.rng.below(BURST) {
            if let Some(at) = one_of(&mut self.rng, devices) {
                self.act(at).await;
            }
        }
    }

    async fn back(&mut self, at: usize, on: usize) {
        let anew = self.rng.below(2) == 0;
        self.devices[at].back(on, &self.servers[on], anew).await;
    }

    /// Makes a burst during which a server is killed, and starts the server again. The server's devices reconnect to
    /// any of the two servers.
    async fn crash(&mut self, server: usize) {
        let all: Vec<_> = (0..self.devices.len()).collect();
        self.burst(&all).await;
        // Some devices wait for their answers first. Otherwise the server might always be killed before it handles an
        // action.
        for _ in 0..self.rng.below(3) {
            let at = self.rng.below(all.len());
            self.devices[at].ping(&mut self.model).await;
        }
        self.servers[server].signal("KILL");
        let (away, mut here): (Vec<_>, Vec<_>) = all.iter().partition(|at| self.devices[**at].on == server);
        self.burst(&here).await;
        for at in &away {
            self.unanswered += self.devices[*at].cut_off(&mut self.model).await;
        }
        let (early, late): (Vec<_>, Vec<_>) = away.iter().partition(|_| self.rng.below(2) == 0);
        for at in early {
            self.back(at, 1 - server).await;
            here.push(at);
        }
        self.burst(&here).await;
        assert_eq!(self.servers[server].exit_code().await, None);
        self.servers[server] = self.servers[server].again().await;
        for at in late {
            self.back(at, server).await;
        }
        for device in &mut self.devices {
            device.answered(&mut self.model).await;
        }
    }

    /// Replaces the model by the contents of the documents in the database.
    async fn read_the_documents(&mut self) {
        for room in self.model.values_mut() {
            *room = Room::of(std::mem::take(&mut room.members));
        }
        let messages = self.messages.find(doc! {}).await.unwrap();
        for message in messages.try_collect::<Vec<_>>().await.unwrap() {
            let id = message.get_document("_id").unwrap();
            let room = self.model.get_mut(&id.get_i64("room").unwrap()).unwrap();
            let n = id.get_i64("n").unwrap();
            room.said.insert(n, message.get_i64("sender").unwrap());
            if message.contains_key("deleted_at") {
                room.deleted.insert(n);
            }
        }
        // The journal is read before the members. Between the two reads, a server may move (fold) a marker from the
        // journal into its member's document. The test then finds the marker in both places. In the opposite order, it
        // could find the marker in neither place.
        let journal = self.journal.find(doc! {}).await.unwrap();
        let journal = journal.try_collect::<Vec<_>>().await.unwrap();
        let members = self.members.find(doc! {}).await.unwrap();
        for member in members.try_collect::<Vec<_>>().await.unwrap() {
            let id = member.get_document("_id").unwrap();
            let room = self.model.get_mut(&id.get_i64("room").unwrap()).unwrap();
            room.read.insert(id.get_i64("user").unwrap(), member.get_i64("read").unwrap());
        }
        for mark in journal.iter().flat_map(|batch| batch.get_array("marks").unwrap()) {
            let mark = mark.as_document().unwrap();
            let room = self.model.get_mut(&mark.get_i64("room").unwrap()).unwrap();
            let read = room.read.get_mut(&mark.get_i64("user").unwrap()).unwrap();
            *read = mark.get_i64("read").unwrap().max(*read);
        }
    }

    /// Returns all differences from the documents: of each device, and of a new connection of each user to each server.
    async fn differences(&self) -> Vec<String> {
        let mut all = Vec::new();
        for user in USERS {
            let must = unread_of(&self.model, user);
            for (at, device) in self.devices.iter().enumerate().filter(|(_, device)| device.user == user) {
                let who = format!("device {at} of user {user} on server {}", device.on);
                all.extend(differences(&who, &device.unread(), &must));
            }
            for (on, server) in self.servers.iter().enumerate() {
                let (_, ready) = inbox(server, user).await;
                all.extend(differences(
                    &format!("user {user}, anew on server {on}"),
                    &unread_in(&ready),
                    &must,
                ));
            }
        }
        all
    }

    /// Waits until all devices and new connections agree with the documents. The other server soon completes the work
    /// of a killed server.
    async fn becomes_exact(&mut self, round: usize) {
        let differences = async || {
            for device in &mut self.devices {
                device.ping(&mut self.model).await;
            }
            self.read_the_documents().await;
            self.differences().await
        };
        eventually(&format!("all devices are exact in round {round}"), differences, Vec::is_empty).await;
        self.counted +=
            USERS.iter().flat_map(|user| unread_of(&self.model, *user).into_values()).sum::<i64>();
    }
}

fn latest(messages: &[i64]) -> &[i64] {
    &messages[messages.len().saturating_sub(LATEST)..]
}

/// Returns, in words, the rooms in which the unread counts differ from the expected ones.
fn differences(who: &str, has: &Unread, must: &Unread) -> Vec<String> {
    let rooms = must.iter().filter(|(room, unread)| has.get(room) != Some(unread));
    rooms
        .map(|(room, unread)| format!("{who}, room {room}: has {:?}, must be {unread}", has.get(room)))
        .collect()
}

/// The test prints the seed of its random numbers. `PARLOR_IT_SEED` sets another seed.
#[tokio::test]
async fn unread_counts_are_exact_after_crashes() {
    let mut rng = SeededRng::of(seed());
    let one = Program::start(&[("LIMITS__SEND_QUEUE", "10000")]).await;
    let servers = [one.again().await, one];
    let messages = servers[0].collection("messages").await;
    let (members, journal) = (servers[0].collection("members").await, servers[0].collection("marks").await);
    let (model, devices) = device_model::begin([&servers[0], &servers[1]], &mut rng).await;
    let mut world = World {
        servers,
        messages,
        members,
        journal,
        devices,
        model,
        rng,
        said: 0,
        unanswered: 0,
        counted: 0,
    };
    for round in 0..ROUNDS {
        let server = world.rng.below(2);
        world.crash(server).await;
        world.becomes_exact(round).await;
    }
    let World { said, unanswered, counted, .. } = world;
    eprintln!(
        "{said} messages were said, {unanswered} frames never answered, {counted} messages counted as unread"
    );
    assert!(unanswered > 0, "every frame was answered");
    assert!(counted > 100, "only {counted} messages were ever unread");
}
