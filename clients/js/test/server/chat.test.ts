// Two and three users chat over Level 3.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { MemoryStorage } from "../fake.js";
import { Server, User } from "./server.js";

const LIMIT = { timeout: 60_000 };
let server: Server;
const users: User[] = [];
let lastUser = 0;

before(async () => { server = await Server.start({ PARLOR__LIMITS__FRAMES_PER_MINUTE: "100000" }); });
after(() => server?.end());
// Each test has users of its own, so that none hears of another's rooms.
test.afterEach(() => { for (const user of users.splice(0)) user.chat.close(); });

const user = (id: number, options?: ConstructorParameters<typeof User>[2]): User => {
  const made = new User(server, id, options);
  users.push(made);
  return made;
};
const newUser = (): User => user(++lastUser);

/** Two who are connected, and their room. */
async function pair(): Promise<{ a: User; b: User; room: number }> {
  const [a, b] = [newUser(), newUser()];
  const room = await server.room(a.userId, b.userId);
  await Promise.all([a.connected(), b.connected()]);
  return { a, b, room };
}

test("a message arrives, is delivered, and read once its room is open", LIMIT, async () => {
  const { a, b, room } = await pair();
  const id = await a.chat.send(room, "Hello").done;
  assert.equal(id, 1);
  await b.until("the message", () => b.texts(room).includes("Hello"));
  assert.equal(b.room(room).unread, 1);
  await a.until("delivered", () => a.room(room).message(id)?.status === "delivered");
  b.chat.open(room);
  await a.until("read", () => a.room(room).message(id)?.status === "read");
  await b.until("no unread ones", () => b.room(room).unread === 0 && b.room(room).read === id);
  assert.equal(a.room(room).members.get(b.userId)?.read, id);

  await a.chat.send(room, "and now?").done; // read as it comes
  await a.until("read, too", () => a.room(room).messages.at(-1)?.status === "read");
  b.chat.closeRoom(room);
  const third = await a.chat.send(room, "still there?").done;
  await b.until("unread again", () => b.room(room).unread === 1);
  assert.notEqual(a.room(room).message(third)?.status, "read");
});

test("read by hand", LIMIT, async () => {
  const { a, b, room } = await pair();
  const ids = [];
  for (const text of ["1", "2", "3"]) ids.push(await a.chat.send(room, text).done);
  await b.until("all three", () => b.room(room).messages.length === 3);
  b.chat.read(room, ids[1] ?? 0);
  await b.until("one unread", () => b.room(room).unread === 1);
  await a.until("two read", () => a.room(room).messages.map(({ status }) => status).join() === "read,read,delivered");
  b.chat.read(room, 1_000); // means the last one
  await b.until("none unread", () => b.room(room).unread === 0);
});

test("edit and delete, by their author alone", LIMIT, async () => {
  const { a, b, room } = await pair();
  const id = await a.chat.send(room, "Helo").done;
  await a.chat.edit(room, id, "Hello");
  assert.equal(a.room(room).message(id)?.text, "Hello");
  await b.until("the edit", () => b.room(room).message(id)?.text === "Hello");
  await assert.rejects(b.chat.edit(room, id, "mine now"), { code: "not_author" });
  await assert.rejects(b.chat.delete(room, id), { code: "not_author" });
  await a.chat.delete(room, id);
  await b.until("the delete", () => b.room(room).messages.length === 0);
  await b.until("none unread", () => b.room(room).unread === 0);
  await assert.rejects(a.chat.edit(room, id, "again"), { code: "not_found" });
});

test("history, page by page, to the beginning", LIMIT, async () => {
  const [a, b] = [newUser(), newUser()];
  const room = await server.room(a.userId, b.userId);
  const texts = Array.from({ length: 25 }, (_, index) => `${index + 1}`);
  for (const text of texts) await server.api("POST", `/rooms/${room}/messages`, { sender_id: b.userId, text });
  await a.connected();
  assert.deepEqual(a.texts(room), ["25"]);
  assert.equal(a.room(room).unread, 25);
  while (a.room(room).from > 1) await a.chat.history(room, { before: a.room(room).from, limit: 10 });
  assert.deepEqual(a.texts(room), texts);
  const page = await a.chat.history(room, { after: 3, limit: 2 });
  assert.deepEqual(page.messages.map(({ text }) => text), ["4", "5"]);
  assert.equal(page.hasMore, true);
});

test("typing, and who is there", LIMIT, async () => {
  const { a, b, room } = await pair();
  await a.until("b online", () => a.room(room).members.get(b.userId)?.online === true);
  const typing = b.event("typing");
  a.chat.typing(room);
  assert.equal((await typing).userId, a.userId);
  b.chat.close();
  await a.until("b gone", () => a.room(room).members.get(b.userId)?.online === false);
  assert.ok(a.room(room).members.get(b.userId)?.last_seen);
});

test("rooms come, change and go while one is connected", LIMIT, async () => {
  const [a, b, c] = [newUser(), newUser(), newUser()];
  await Promise.all([a.connected(), b.connected()]);
  const added = b.event("roomAdded");
  const id = await server.room(a.userId, b.userId, c.userId);
  assert.equal((await added).room.id, id);
  assert.deepEqual([...b.room(id).members.keys()].sort(), [a.userId, b.userId, c.userId].sort());
  await server.api("PATCH", `/rooms/${id}`, { name: "three" });
  await b.until("the name", () => b.room(id).name === "three");
  await server.api("PUT", `/rooms/${id}/members/${a.userId}`, { role: "admin" });
  await b.until("the role", () => b.room(id).members.get(a.userId)?.role === "admin");
  await server.api("DELETE", `/rooms/${id}/members/${b.userId}`);
  await b.until("no room", () => b.chat.room(id) === undefined);
  await assert.rejects(b.chat.send(id, "too late").done, { code: "not_found" });
  await a.until("one less", () => a.room(id).members.size === 2);
});

test("in a group it is read when all have", LIMIT, async () => {
  const [a, b, c] = [newUser(), newUser(), newUser()];
  const room = await server.room(a.userId, b.userId, c.userId);
  await Promise.all([a.connected(), b.connected(), c.connected()]);
  const id = await a.chat.send(room, "all of you").done;
  await Promise.all([b, c].map((other) => other.until("it", () => other.room(room).messages.length === 1)));
  b.chat.read(room, id);
  await b.until("b's mark", () => b.room(room).read === id);
  assert.notEqual(a.room(room).message(id)?.status, "read");
  c.chat.read(room, id);
  await a.until("read", () => a.room(room).message(id)?.status === "read");
});

test("more rooms than a list holds", LIMIT, async () => {
  const [a, others] = [newUser(), Array.from({ length: 53 }, () => newUser())];
  const ids = [];
  for (const other of others) ids.push(await server.room(a.userId, other.userId));
  await a.connected();
  assert.equal(a.chat.rooms.length, 50);
  // The first one is not among them; a message brings it up.
  const oldest = ids.find((id) => !a.chat.room(id)) ?? 0;
  const sender = others[ids.indexOf(oldest)]?.userId;
  await server.api("POST", `/rooms/${oldest}/messages`, { sender_id: sender, text: "Hello" });
  await a.until("the room", () => a.chat.rooms[0]?.id === oldest);
  assert.deepEqual([a.texts(oldest), a.room(oldest).unread], [["Hello"], 1]);
  while (await a.chat.moreRooms());
  assert.deepEqual(a.chat.rooms.map(({ id }) => id).sort((x, y) => x - y), ids);
});

test("two tabs with one storage: each message is there once, in order", LIMIT, async () => {
  const [a, b] = [newUser(), newUser()];
  const room = await server.room(a.userId, b.userId);
  await b.connected();
  const storage = new MemoryStorage();
  const offline = user(Number(a.userId), { storage, userId: a.userId });
  const texts = Array.from({ length: 20 }, (_, index) => `${index + 1}`);
  for (const text of texts) offline.chat.send(room, text);
  const reloaded = user(Number(a.userId), { storage, userId: a.userId });
  await Promise.all([offline.connected(), reloaded.connected()]);
  for (const tab of [offline, reloaded]) await tab.until("all sent", () => tab.chat.pending(room).length === 0);
  await b.until("all", () => b.room(room).messages.length >= texts.length);
  assert.deepEqual(b.texts(room), texts);
  assert.equal(storage.length, 0);
});

test("what the server won't have is told, and what follows goes", LIMIT, async () => {
  const { a, b, room } = await pair();
  const [bad, good] = [a.chat.send(room, "x".repeat(5_000)), a.chat.send(room, "short")];
  await assert.rejects(bad.done, { code: "invalid_request" });
  await good.done;
  await b.until("the good one", () => b.texts(room).includes("short"));
  await assert.rejects(a.chat.send(999_999, "nowhere").done, { code: "not_found" });
});
