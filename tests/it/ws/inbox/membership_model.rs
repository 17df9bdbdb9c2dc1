//! A user's memberships begin and end at random, while the user's inbox connection is opened, lost and resumed. The
//! client's state equals the database, and each room is added once for each membership.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};

use super::resume::resume;
use crate::support::{Client, SeededRng, Server, encoded, seed};

/// The number of sockets that the user opens, one after another.
const ROUNDS: usize = 80;

/// The test makes a random number of changes while a socket is open, and a random number before it opens the next
/// socket. Each of the two numbers is less than this bound.
const CHANGES: usize = 6;

/// A room as the user's client knows it.
#[derive(Debug)]
struct Room {
    /// User 1's email in the room. In this test, each membership begins with a new email, so the email identifies the
    /// membership.
    membership: String,
    /// The texts of the messages from id `from` on. `from` was the id of the last message when the room was added.
    messages: BTreeMap<i64, String>,
    /// The greatest message id that the client has received.
    newest: i64,
    from: i64,
}

impl Room {
    fn of(view: &Value) -> Self {
        let last = &view["last_message"];
        let mut room = Self { membership: membership(view), messages: BTreeMap::new(), newest: 0, from: 0 };
        if let Some(id) = last["message_id"].as_i64() {
            (room.newest, room.from) = (id, id);
            room.messages.insert(id, last["text"].as_str().unwrap().to_owned());
        }
        room
    }

    fn add(&mut self, message: &Value) {
        let id = message["message_id"].as_i64().unwrap();
        assert!(id > self.newest, "told after {}, twice or too late: {message}", self.newest);
        self.newest = id;
        self.messages.insert(id, message["text"].as_str().unwrap().to_owned());
    }

    fn edit(&mut self, message: &Value) {
        let id = message["message_id"].as_i64().unwrap();
        assert!(id <= self.newest, "it was never told of: {message}");
        if let Some(text) = self.messages.get_mut(&id) {
            message["text"].as_str().unwrap().clone_into(text);
        }
    }

    fn delete(&mut self, id: &Value) {
        let id = id.as_i64().unwrap();
        assert!(id <= self.newest, "{id} was never told of");
        self.messages.remove(&id);
    }
}

/// Returns user 1's email in the server's description of a room. The email identifies the membership.
fn membership(view: &Value) -> String {
    let members = view["members"].as_array().unwrap_or_else(|| panic!("no members: {view}"));
    let own = members.iter().find(|member| member["user_id"] == 1);
    own.unwrap_or_else(|| panic!("the user is not in {view}"))["email"].as_str().unwrap().to_owned()
}

/// The client's copy. It applies frames as the client library (`clients/js`) does, and asserts that the server was
/// allowed to send them.
#[derive(Default)]
struct Copy {
    rooms: BTreeMap<i64, Room>,
    /// Each membership that the server has added, with its room.
    told: BTreeSet<(i64, String)>,
    cursor: String,
}

impl Copy {
    /// Applies a first frame: new, changed and removed rooms, and the cursor.
    fn begin(&mut self, ready: &Value) {
        let resumed = ready["resumed"] == true;
        assert!(resumed || self.cursor.is_empty(), "it is not resumed: {ready}");
        if resumed {
            let mine = ids(&ready["room_ids"]);
            self.rooms.retain(|room, _| mine.contains(room));
        }
        for view in ready["rooms"].as_array().unwrap() {
            let id = view["room_id"].as_i64().unwrap();
            assert_ne!(view["has_more"], true, "{view}");
            if !resumed || view["added"] == true {
                self.enter(id, view);
                continue;
            }
            let known =
                self.rooms.get_mut(&id).unwrap_or_else(|| panic!("room {id} was never added: {ready}"));
            assert_eq!(known.membership, membership(view), "a new membership is to be added: {ready}");
            let all = |key: &str| view[key].as_array().unwrap_or_else(|| panic!("no {key}: {view}")).iter();
            all("messages").for_each(|message| known.add(message));
            all("edited").for_each(|message| known.edit(message));
            all("deleted").for_each(|id| known.delete(id));
        }
        if resumed {
            let mine = ids(&ready["room_ids"]);
            assert_eq!(self.rooms.keys().copied().collect::<BTreeSet<_>>(), mine, "{ready}");
        }
        ready["cursor"].as_str().unwrap().clone_into(&mut self.cursor);
    }

    /// Adds a room that is new to the client. Asserts that its membership was not added before.
    fn enter(&mut self, id: i64, view: &Value) {
        let room = Room::of(view);
        assert!(self.told.insert((id, room.membership.clone())), "added again: {view}");
        self.rooms.insert(id, room);
    }

    /// Applies an event.
    fn hear(&mut self, frame: &Value) {
        let Some(cursor) = frame["cursor"].as_str() else {
            return assert!(["presence", "pong"].iter().any(|kind| frame["type"] == *kind), "{frame}");
        };
        cursor.clone_into(&mut self.cursor);
        let id = frame["room_id"].as_i64().unwrap();
        if frame["type"] == "room_added" {
            assert!(!self.rooms.contains_key(&id), "it is in the room: {frame}");
            return self.enter(id, &frame["room"]);
        }
        let room = self.rooms.get_mut(&id).unwrap_or_else(|| panic!("of a room that it isn't in: {frame}"));
        match frame["type"].as_str().unwrap() {
            "chat_message" => room.add(&frame["message"]),
            "message_edited" => room.edit(frame),
            "message_deleted" => room.delete(&frame["message_id"]),
            "room_removed" => drop(self.rooms.remove(&id)),
            "room_changed" | "unread" | "mark_message_as_delivered" | "mark_message_as_read" => {}
            other => panic!("{other} is not expected here: {frame}"),
        }
    }

    /// Applies all frames that have arrived so far.
    async fn hear_what_came(&mut self, client: &mut Client) {
        client.send(json!({"action": "ping"})).await;
        loop {
            let frame = client.next().await;
            self.hear(&frame);
            if frame["type"] == "pong" {
                return;
            }
        }
    }
}

fn ids(list: &Value) -> BTreeSet<i64> {
    list.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
}

/// Two servers, three groups on them, and the user's memberships in the groups.
struct World {
    servers: [Server; 2],
    rooms: Vec<i64>,
    /// The memberships that have not ended, by room id.
    members: BTreeMap<i64, String>,
    begun: usize,
    said: BTreeMap<i64, i64>,
    rng: SeededRng,
}

impl World {
    async fn call(&mut self, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.servers[self.rng.below(2)].call(method, path, body).await
    }

    /// Makes one random change through a random server, and waits for the answer.
    async fn change(&mut self) {
        let room = self.rooms[self.rng.below(self.rooms.len())];
        let said = self.said.get(&room).copied().unwrap_or_default();
        let id = 1 + i64::try_from(self.rng.below(usize::try_from(said).unwrap().max(1))).unwrap();
        let message = format!("/rooms/{room}/messages/{id}");
        match self.rng.below(10) {
            0..=3 => self.toggle(room).await,
            4 if said > 0 => {
                let text = json!({"text": format!("edit {id}")});
                self.call(Method::PATCH, &message, text).await;
            }
            5 if said > 0 => {
                self.call(Method::DELETE, &message, json!({})).await;
            }
            _ => {
                let text = json!({"sender_id": 2, "text": format!("{room}/{}", said + 1)});
                let (status, posted) =
                    self.call(Method::POST, &format!("/rooms/{room}/messages"), text).await;
                assert_eq!(status, 201, "{posted}");
                self.said.insert(room, posted["message_id"].as_i64().unwrap());
            }
        }
    }

    /// Ends the user's membership in the room, or begins a new one.
    async fn toggle(&mut self, room: i64) {
        let member = format!("/rooms/{room}/members/1");
        if self.members.remove(&room).is_some() {
            assert_eq!(self.call(Method::DELETE, &member, json!({})).await.0, 204);
            return;
        }
        self.begun += 1;
        let email = format!("membership{}@example.com", self.begun);
        assert_eq!(self.call(Method::PUT, &member, json!({"email": email})).await.0, 201);
        self.members.insert(room, email);
    }

    async fn some_changes(&mut self) {
        for _ in 0..self.rng.below(CHANGES) {
            self.change().await;
        }
    }

    async fn resume(&mut self, copy: &mut Copy) -> Client {
        let server = &self.servers[self.rng.below(2)];
        let (client, ready) = resume(server, 1, &encoded(&copy.cursor)).await;
        copy.begin(&ready);
        client
    }

    /// Returns the stored messages of a room from message `from` on.
    async fn stored(&mut self, room: i64, from: i64) -> BTreeMap<i64, String> {
        let (mut stored, mut after) = (BTreeMap::new(), (from - 1).max(0));
        loop {
            let path = format!("/rooms/{room}/messages?after={after}&limit=200");
            let (status, page) = self.call(Method::GET, &path, Value::Null).await;
            assert_eq!(status, 200, "{page}");
            for message in page["messages"].as_array().unwrap() {
                after = message["message_id"].as_i64().unwrap();
                stored.insert(after, message["text"].as_str().unwrap().to_owned());
            }
            if page["has_more"] == false {
                return stored;
            }
        }
    }

    /// Asserts that the client's rooms and messages equal those in the database.
    async fn compare(&mut self, copy: &Copy, round: usize) {
        let known: BTreeMap<_, _> =
            copy.rooms.iter().map(|(id, room)| (*id, room.membership.clone())).collect();
        assert_eq!(known, self.members, "the user's rooms in round {round}");
        for (id, room) in &copy.rooms {
            assert_eq!(room.messages, self.stored(*id, room.from).await, "room {id} in round {round}");
        }
    }
}

/// The test prints the seed of its random numbers. `PARLOR_IT_SEED` sets another seed.
#[tokio::test]
async fn memberships_are_added_once_whatever_a_socket_missed() {
    let mut rng = SeededRng::of(seed());
    let here = Server::start(&[]).await;
    let servers = [here.beside().await, here];
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(servers[rng.below(2)].room(&[2, 3, 4]).await);
    }
    let mut world = World { servers, rooms, members: BTreeMap::new(), begun: 0, said: BTreeMap::new(), rng };
    let mut copy = Copy::default();
    for round in 0..ROUNDS {
        let mut client = world.resume(&mut copy).await;
        for _ in 0..world.rng.below(CHANGES) {
            world.change().await;
            if world.rng.below(2) == 0 {
                copy.hear_what_came(&mut client).await;
            }
        }
        // The socket is dropped while frames may be on their way.
        drop(client);
        world.some_changes().await;
        if round % 8 == 7 {
            drop(world.resume(&mut copy).await);
            world.compare(&copy, round).await;
        }
    }
    assert!(world.begun > 20, "only {} memberships began", world.begun);
}
