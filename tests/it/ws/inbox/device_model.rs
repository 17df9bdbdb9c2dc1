//! The expected unread counts, and a client's state as its frames say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{inbox, resume};
use crate::support::{Client, End, SeededRng, Server, encoded};

pub(super) const USERS: [i64; 3] = [1, 2, 3];

/// Their rooms, and two devices of each, on whichever server the dice say.
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

/// All rooms, by their ids.
pub(super) type Model = BTreeMap<i64, Room>;

/// How many are unread, by room.
pub(super) type Unread = BTreeMap<i64, i64>;

/// A room by what was acknowledged in it.
pub(super) struct Room {
    pub(super) members: Vec<i64>,
    /// Who said each message.
    pub(super) said: BTreeMap<i64, i64>,
    pub(super) deleted: BTreeSet<i64>,
    /// Up to which each member has read for certain. A mark may also stand on own messages right after it.
    pub(super) read: BTreeMap<i64, i64>,
}

impl Room {
    pub(super) fn of(members: Vec<i64>) -> Self {
        let read = members.iter().map(|member| (*member, 0)).collect();
        Self { members, said: BTreeMap::new(), deleted: BTreeSet::new(), read }
    }

    /// The model: others' messages after the mark that are not deleted.
    pub(super) fn unread(&self, user: i64) -> i64 {
        let others = self.said.range(self.read[&user] + 1..);
        let others = others.filter(|(id, sender)| **sender != user && !self.deleted.contains(id));
        i64::try_from(others.count()).unwrap()
    }

    /// This member's messages that are still there.
    pub(super) fn own(&self, user: i64) -> Vec<i64> {
        let own = self.said.iter().filter(|(id, sender)| **sender == user && !self.deleted.contains(id));
        own.map(|(id, _)| *id).collect()
    }

    fn last(&self) -> i64 {
        self.said.keys().next_back().copied().unwrap_or_default()
    }

    /// All that is there by now was shown to this member. What was deleted before is not.
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

/// What there must be in each of a user's rooms.
pub(super) fn unread_of(model: &Model, user: i64) -> Unread {
    rooms_of(model, user).into_iter().map(|room| (room, model[&room].unread(user))).collect()
}

/// What a first frame says.
pub(super) fn unread_in(ready: &Value) -> Unread {
    let listed = ready["rooms"].as_array().unwrap().iter();
    listed.map(|room| (room["room_id"].as_i64().unwrap(), room["unread"].as_i64().unwrap())).collect()
}

/// A throw that decides among what there is; none where there is nothing.
pub(super) fn one_of<T: Copy>(rng: &mut SeededRng, some: &[T]) -> Option<T> {
    (!some.is_empty()).then(|| some[rng.below(some.len())])
}

/// A room as a device knows it.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) unread: i64,
    pub(super) read: i64,
    /// The newest message that it was told of.
    pub(super) seen: i64,
    pub(super) open: bool,
}

/// A socket of all rooms, and what its client makes of what it is told.
pub(super) struct Device {
    pub(super) user: i64,
    /// On which server.
    pub(super) on: usize,
    pub(super) client: Client,
    pub(super) cursor: String,
    pub(super) rooms: BTreeMap<i64, View>,
    /// Frames that are still to be answered.
    asked: usize,
}

impl Device {
    pub(super) fn of(user: i64, on: usize, client: Client, ready: &Value) -> Self {
        let rooms = BTreeMap::new();
        let mut device = Self { user, on, client, cursor: String::new(), rooms, asked: 0 };
        device.begin(ready);
        device
    }

    pub(super) fn begin(&mut self, ready: &Value) {
        for room in ready["rooms"].as_array().unwrap() {
            let view = self.rooms.entry(room["room_id"].as_i64().unwrap()).or_default();
            view.overwrite(room);
            view.seen = room["last_message"]["message_id"].as_i64().unwrap_or_default().max(view.seen);
        }
        ready["cursor"].as_str().unwrap().clone_into(&mut self.cursor);
    }

    /// Drops its socket where it still has one, and opens another, anew or from where it was.
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

    /// Asks for something that is answered.
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

    /// Hears all that still comes until the socket ends, and how it does.
    pub(super) async fn hear_out(&mut self, model: &mut Model) -> End {
        let (frames, end) = self.client.hear_out().await;
        for frame in &frames {
            self.hear(frame, model);
        }
        end
    }

    /// Its server was killed: what wasn't answered by then never is, and nothing is being looked at any more. Gives how
    /// many answers that are.
    pub(super) async fn cut_off(&mut self, model: &mut Model) -> usize {
        self.hear_out(model).await;
        self.rooms.values_mut().for_each(|view| view.open = false);
        std::mem::take(&mut self.asked)
    }

    /// By the rules for clients: one more for another user's message unless it is being looked at; what the server
    /// says of the count overwrites it.
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

    /// Whether it may go without leaving anything open.
    pub(super) fn is_idle(&self) -> bool {
        self.asked == 0 && !self.rooms.values().any(|view| view.open)
    }

    /// Whether it was told of the last message of each room, and of how far its user has read.
    pub(super) fn knows_all(&self, model: &Model) -> bool {
        self.rooms.iter().all(|(id, view)| {
            let room = &model[id];
            view.seen >= room.last() && view.read >= room.read[&self.user]
        })
    }

    pub(super) fn unread(&self) -> Unread {
        self.rooms.iter().map(|(room, view)| (*room, view.unread)).collect()
    }

    /// Hears what there is by now.
    pub(super) async fn ping(&mut self, model: &mut Model) {
        self.client.send(json!({"action": "ping"})).await;
        while self.next(model).await["type"] != "pong" {}
    }

    pub(super) async fn answered(&mut self, model: &mut Model) {
        while self.asked > 0 {
            self.next(model).await;
        }
    }

    /// Looks at no room any more. What is written from now on is not read by it.
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
    fn overwrite(&mut self, told: &Value) {
        self.unread = told["unread"].as_i64().unwrap();
        self.read = told["read"].as_i64().unwrap();
    }
}
