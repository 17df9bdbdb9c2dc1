//! The model of the unread tests: the expected unread counts of each user, and devices that count as clients do, by
//! their received frames.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{inbox, resume};
use crate::support::{Client, End, SeededRng, Server, encoded};

pub(super) const USERS: [i64; 3] = [1, 2, 3];

/// Makes three rooms, and opens two devices of each user on random servers.
pub(super) async fn begin(servers: [&Server; 2], rng: &mut SeededRng) -> (Model, Vec<Device>) {
    let mut model = Model::new();
    for members in [vec![1, 2], vec![1, 3], vec![1, 2, 3]] {
        model.insert(servers[0].room(&members).await, Room::of(members));
    }
    let mut devices = Vec::new();
    for user in USERS.into_iter().flat_map(|user| [user, user]) {
        let on = rng.below(2);
        let (client, ready) = inbox(servers[on], user).await;
        devices.push(Device::of(user, on, client, &ready));
    }
    (model, devices)
}

/// All rooms of the model, by id.
pub(super) type Model = BTreeMap<i64, Room>;

/// The number of unread messages, by room id.
pub(super) type Unread = BTreeMap<i64, i64>;

/// The expected state of a room after all acknowledged changes.
pub(super) struct Room {
    pub(super) members: Vec<i64>,
    /// The sender of each message, by message id.
    pub(super) said: BTreeMap<i64, i64>,
    pub(super) deleted: BTreeSet<i64>,
    /// The id of the last message that each member has certainly read. The server's read marker may be higher, but only
    /// if the next messages are the member's own.
    pub(super) read: BTreeMap<i64, i64>,
}

impl Room {
    pub(super) fn of(members: Vec<i64>) -> Self {
        let read = members.iter().map(|member| (*member, 0)).collect();
        Self { members, said: BTreeMap::new(), deleted: BTreeSet::new(), read }
    }

    /// Returns the expected unread count: the messages after the user's read marker that others wrote and that are not
    /// deleted.
    pub(super) fn unread(&self, user: i64) -> i64 {
        let others = self.said.range(self.read[&user] + 1..);
        let others = others.filter(|(id, sender)| **sender != user && !self.deleted.contains(id));
        i64::try_from(others.count()).unwrap()
    }

    /// Returns the ids of this member's messages that are not deleted.
    pub(super) fn own(&self, user: i64) -> Vec<i64> {
        let own = self.said.iter().filter(|(id, sender)| **sender == user && !self.deleted.contains(id));
        own.map(|(id, _)| *id).collect()
    }

    fn last(&self) -> i64 {
        self.said.keys().next_back().copied().unwrap_or_default()
    }

    /// Records that this member has read all messages that exist now. Deleted messages were not shown to the member.
    pub(super) fn read_all(&mut self, user: i64) {
        let mut shown = self.said.iter().rev().filter(|(id, _)| !self.deleted.contains(id));
        let newest = shown.find(|(_, sender)| **sender != user).map_or(0, |(id, _)| *id);
        let read = self.read.get_mut(&user).unwrap();
        *read = newest.max(*read);
    }
}

pub(super) fn rooms_of(model: &Model, user: i64) -> Vec<i64> {
    let own = model.iter().filter(|(_, room)| room.members.contains(&user));
    own.map(|(id, _)| *id).collect()
}

/// Returns the expected unread counts of all rooms of a user.
pub(super) fn unread_of(model: &Model, user: i64) -> Unread {
    rooms_of(model, user).into_iter().map(|room| (room, model[&room].unread(user))).collect()
}

/// Returns the unread counts in a first frame.
pub(super) fn unread_in(ready: &Value) -> Unread {
    let listed = ready["rooms"].as_array().unwrap().iter();
    listed.map(|room| (room["room_id"].as_i64().unwrap(), room["unread"].as_i64().unwrap())).collect()
}

/// Returns a random element, or `None` if there is no element.
pub(super) fn one_of<T: Copy>(rng: &mut SeededRng, some: &[T]) -> Option<T> {
    (!some.is_empty()).then(|| some[rng.below(some.len())])
}

/// A room as a device knows it.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) unread: i64,
    pub(super) read: i64,
    /// The id of the newest message that the device has received.
    pub(super) seen: i64,
    pub(super) open: bool,
}

/// An inbox connection, and the state that a client builds from its frames.
pub(super) struct Device {
    pub(super) user: i64,
    /// The index of the device's server.
    pub(super) on: usize,
    pub(super) client: Client,
    pub(super) cursor: String,
    pub(super) rooms: BTreeMap<i64, View>,
    /// The number of sent frames that have no answer yet.
    asked: usize,
}

impl Device {
    pub(super) fn of(user: i64, on: usize, client: Client, ready: &Value) -> Self {
        let rooms = BTreeMap::new();
        let mut device = Self { user, on, client, cursor: String::new(), rooms, asked: 0 };
        device.begin(ready);
        device
    }

    /// Applies a first frame: replaces the state of each listed room, and the cursor.
    pub(super) fn begin(&mut self, ready: &Value) {
        for room in ready["rooms"].as_array().unwrap() {
            let view = self.rooms.entry(room["room_id"].as_i64().unwrap()).or_default();
            view.overwrite(room);
            view.seen = room["last_message"]["message_id"].as_i64().unwrap_or_default().max(view.seen);
        }
        ready["cursor"].as_str().unwrap().clone_into(&mut self.cursor);
    }

    /// Drops the device's socket and opens another one. If `anew` is set, the device starts without a cursor; otherwise
    /// it resumes.
    pub(super) async fn back(&mut self, on: usize, server: &Server, anew: bool) {
        if anew {
            let (client, ready) = inbox(server, self.user).await;
            *self = Self::of(self.user, on, client, &ready);
            return;
        }
        let (client, ready) = resume::resume(server, self.user, &encoded(&self.cursor)).await;
        assert_eq!(ready["resumed"], true, "{ready}");
        (self.client, self.on) = (client, on);
        self.begin(&ready);
    }

    /// Sends a frame that the server answers.
    pub(super) async fn ask(&mut self, mut frame: Value) {
        frame["ref"] = "asked".into();
        self.asked += 1;
        self.client.send(frame).await;
    }

    pub(super) async fn next(&mut self, model: &mut Model) -> Value {
        let frame = self.client.next().await;
        self.hear(&frame, model);
        frame
    }

    /// Applies all frames until the socket ends. Returns how the socket ended.
    pub(super) async fn hear_out(&mut self, model: &mut Model) -> End {
        let (frames, end) = self.client.hear_out().await;
        for frame in &frames {
            self.hear(frame, model);
        }
        end
    }

    /// Handles the kill of the device's server. The device then has no open room, and its unanswered frames never get
    /// an answer. Returns the number of unanswered frames.
    pub(super) async fn cut_off(&mut self, model: &mut Model) -> usize {
        self.hear_out(model).await;
        self.rooms.values_mut().for_each(|view| view.open = false);
        std::mem::take(&mut self.asked)
    }

    /// Applies a frame by the rules for clients. A message of another user adds one to the unread count, unless the
    /// room is open on this device. A count from the server replaces the device's count.
    pub(super) fn hear(&mut self, frame: &Value, model: &mut Model) {
        let answer = frame["ref"].is_string();
        self.asked -= usize::from(answer);
        if let Some(cursor) = frame["cursor"].as_str() {
            cursor.clone_into(&mut self.cursor);
        }
        let Some(id) = frame["room_id"].as_i64() else {
            let gone = frame["type"] == "error" && frame["code"] == "not_found" && answer;
            let others = ["presence", "pong"].iter().any(|kind| frame["type"] == *kind);
            return assert!(gone || others, "{frame}");
        };
        let (view, room) = (self.rooms.entry(id).or_default(), model.get_mut(&id).unwrap());
        match frame["type"].as_str().unwrap() {
            "chat_message" => {
                let message = frame["message"]["message_id"].as_i64().unwrap();
                let sender = frame["message"]["sender_id"].as_i64().unwrap();
                assert!(message > view.seen, "twice, or too late: {frame}");
                view.seen = message;
                view.unread += i64::from(sender != self.user && !view.open);
                if answer {
                    room.said.insert(message, sender);
                }
            }
            "message_deleted" if answer => {
                room.deleted.insert(frame["message_id"].as_i64().unwrap());
            }
            "error" => assert_eq!(frame["code"], "not_found", "of who deletes twice: {frame}"),
            "unread" => view.overwrite(frame),
            _ => {}
        }
    }

    /// Returns whether all frames are answered and no room is open, so that the device may disconnect.
    pub(super) fn is_idle(&self) -> bool {
        self.asked == 0 && !self.rooms.values().any(|view| view.open)
    }

    /// Returns whether the device has received the last message of each room and its user's read marker.
    pub(super) fn knows_all(&self, model: &Model) -> bool {
        self.rooms.iter().all(|(id, view)| {
            let room = &model[id];
            view.seen >= room.last() && view.read >= room.read[&self.user]
        })
    }

    pub(super) fn unread(&self) -> Unread {
        self.rooms.iter().map(|(room, view)| (*room, view.unread)).collect()
    }

    /// Sends a ping, and applies all frames before its answer.
    pub(super) async fn ping(&mut self, model: &mut Model) {
        self.client.send(json!({"action": "ping"})).await;
        while self.next(model).await["type"] != "pong" {}
    }

    /// Applies frames until each sent frame has its answer.
    pub(super) async fn answered(&mut self, model: &mut Model) {
        while self.asked > 0 {
            self.next(model).await;
        }
    }

    /// Closes all open rooms. So this device does not read later messages.
    pub(super) async fn close_all(&mut self, model: &mut Model) {
        for (room, view) in &mut self.rooms {
            if std::mem::take(&mut view.open) {
                self.client.send(json!({"action": "close", "room_id": room})).await;
            }
        }
        self.ping(model).await;
    }
}

impl View {
    /// Replaces the unread count and the read marker by the server's values.
    fn overwrite(&mut self, told: &Value) {
        self.unread = told["unread"].as_i64().unwrap();
        self.read = told["read"].as_i64().unwrap();
    }
}
