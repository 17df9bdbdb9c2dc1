//! Unread counts are exact at all times, on every device. Random actions of several devices are compared with a simple
//! model.

use serde_json::json;

use super::device_model::{self, Device, Model, USERS, one_of, rooms_of, unread_in, unread_of};
use super::inbox;
use crate::support::{End, SeededRng, Server, seed, shared_uri};

/// The number of rounds. After each round, all devices are compared with the model.
const ROUNDS: usize = 40;

const ROOMY: [(&str, &str); 1] = [("LIMITS__SEND_QUEUE", "10000")];

/// Two servers, the devices of three users on them, and the expected state.
struct World {
    servers: [Server; 2],
    devices: Vec<Device>,
    model: Model,
    rng: SeededRng,
    said: usize,
    /// The number of unread messages in all comparisons, by the model.
    counted: i64,
}

impl World {
    /// Connects a device again, to a random server.
    async fn back(&mut self, at: usize) {
        let (on, anew) = (self.rng.below(2), self.rng.below(2) == 0);
        self.devices[at].back(on, &self.servers[on], anew).await;
    }

    /// Lets a device do a random action, without waiting for the answer. The device may also reconnect if `may_go` is
    /// set.
    async fn act(&mut self, at: usize, may_go: bool) {
        let user = self.devices[at].user;
        let own = rooms_of(&self.model, user);
        let id = one_of(&mut self.rng, &own).unwrap();
        let room = &self.model[&id];
        match self.rng.below(12) {
            0..=1 => {
                if let Some(message) = one_of(&mut self.rng, &room.own(user)) {
                    let delete = json!({"action": "delete", "room_id": id, "message_id": message});
                    self.devices[at].ask(delete).await;
                }
            }
            2..=3 => {
                let known: Vec<_> = room.said.keys().copied().collect();
                if let Some(message) = one_of(&mut self.rng, &known) {
                    let read = json!({"action": "read", "room_id": id, "message_id": message});
                    self.devices[at].client.send(read).await;
                    let mark = self.model.get_mut(&id).unwrap().read.get_mut(&user).unwrap();
                    *mark = message.max(*mark);
                }
            }
            4 => {
                let device = &mut self.devices[at];
                device.rooms.entry(id).or_default().open = true;
                device.client.send(json!({"action": "open", "room_id": id})).await;
            }
            5 if may_go && self.devices[at].is_idle() => self.back(at).await,
            _ => self.say(at, id).await,
        }
    }

    async fn say(&mut self, at: usize, room: i64) {
        self.said += 1;
        let text = self.said.to_string();
        self.devices[at].ask(json!({"action": "send", "room_id": room, "message": text})).await;
    }

    /// Does one random action while no device writes, because during writes the action's result depends on timing. For
    /// example, a message that arrives while a socket closes its room may or may not become read.
    async fn begin(&mut self) {
        let at = self.rng.below(self.devices.len());
        match self.rng.below(4) {
            0 => self.devices[at].close_all(&mut self.model).await,
            1 => {
                // A Level 1 socket has only this room open, so its user reads all messages of the room.
                let user = self.devices[at].user;
                let own = rooms_of(&self.model, user);
                let room = one_of(&mut self.rng, &own).unwrap();
                self.servers[self.rng.below(2)].enter(user, room).await.leave().await;
                self.model.get_mut(&room).unwrap().read_all(user);
            }
            _ => {}
        }
    }

    /// Lets these devices do many random actions.
    async fn burst(&mut self, devices: &[usize], may_go: bool) {
        for _ in 0..self.rng.below(12) {
            if let Some(at) = one_of(&mut self.rng, devices) {
                self.act(at, may_go).await;
            }
        }
    }

    /// Makes a burst while a server shuts down and starts again. The server's devices are disconnected, and reconnect
    /// to any server.
    async fn restart(&mut self, server: usize) {
        let (away, here): (Vec<_>, Vec<_>) =
            (0..self.devices.len()).partition(|at| self.devices[*at].on == server);
        for at in &away {
            self.devices[*at].close_all(&mut self.model).await;
        }
        self.servers[server].shut_down();
        self.burst(&here, false).await;
        for at in &away {
            let end = self.devices[*at].hear_out(&mut self.model).await;
            assert_eq!(end, End::Closed(1012));
        }
        self.servers[server].ended().await;
        self.servers[server] = self.servers[1 - server].beside_over(shared_uri(), &ROOMY).await;
        for at in away {
            self.back(at).await;
        }
    }

    async fn answered(&mut self) {
        for device in &mut self.devices {
            device.answered(&mut self.model).await;
        }
    }

    /// Waits until every device has received all changes. For this, one device sends a last message in each room, which
    /// comes after all other events except receipt markers. The test also waits for the markers.
    async fn settle(&mut self) {
        self.answered().await;
        for room in self.model.keys().copied().collect::<Vec<_>>() {
            let members = &self.model[&room].members;
            let of_members = (0..self.devices.len()).filter(|at| members.contains(&self.devices[*at].user));
            let of_members: Vec<_> = of_members.collect();
            let at = one_of(&mut self.rng, &of_members).unwrap();
            self.say(at, room).await;
        }
        self.answered().await;
        for device in &self.devices {
            for (room, _) in device.rooms.iter().filter(|(_, view)| view.open) {
                self.model.get_mut(room).unwrap().read_all(device.user);
            }
        }
        for device in &mut self.devices {
            while !device.knows_all(&self.model) {
                device.next(&mut self.model).await;
            }
        }
    }

    /// Asserts that every device, and a new connection to each server, has the unread counts of the model.
    async fn compare(&mut self, round: usize) {
        for user in USERS {
            let must = unread_of(&self.model, user);
            self.counted += must.values().sum::<i64>();
            for device in self.devices.iter().filter(|device| device.user == user) {
                assert_eq!(device.unread(), must, "a device of user {user} in round {round}");
            }
            for server in &self.servers {
                let (_, ready) = inbox(server, user).await;
                assert_eq!(unread_in(&ready), must, "user {user}, anew, in round {round}");
            }
        }
    }
}

/// The test prints the seed of its random numbers. `PARLOR_IT_SEED` sets another seed.
#[tokio::test]
async fn unread_counts_are_exact_on_all_devices() {
    let mut rng = SeededRng::of(seed());
    let here = Server::start(&ROOMY).await;
    let servers = [here.beside_over(shared_uri(), &ROOMY).await, here];
    let (model, devices) = device_model::begin([&servers[0], &servers[1]], &mut rng).await;
    let mut world = World { servers, devices, model, rng, said: 0, counted: 0 };
    for round in 0..ROUNDS {
        world.begin().await;
        if round % 8 == 7 {
            world.restart(round / 8 % 2).await;
        } else {
            let all: Vec<_> = (0..world.devices.len()).collect();
            world.burst(&all, true).await;
        }
        world.settle().await;
        world.compare(round).await;
    }
    assert!(world.counted > 100, "only {} messages were ever unread", world.counted);
}
