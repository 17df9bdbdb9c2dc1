// Networks that go, servers that restart, tokens that expire.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { MemoryStorage } from "../fake.js";
import { Server, User } from "./server.js";
import { WebSocket } from "./websocket.js";

const LIMIT = { timeout: 90_000 };
let server: Server;
const users: User[] = [];
let lastUser = 0;

before(async () => { server = await Server.start({ PARLOR__LIMITS__MESSAGES_PER_MINUTE: "240" }); });
after(() => server?.end());
test.afterEach(() => { for (const user of users.splice(0)) user.chat.close(); });

const user = (options?: ConstructorParameters<typeof User>[2]): User => {
  const made = new User(server, ++lastUser, options);
  users.push(made);
  return made;
};

test("after a lost connection all that changed is there, and nothing twice", LIMIT, async () => {
  const [a, b] = [user(), user()];
  const [room, other] = [await server.room(a.userId, b.userId), await server.room(a.userId, b.userId, 9_001)];
  await Promise.all([a.connected(), b.connected()]);
  const ids: number[] = [];
  for (const text of ["one", "two", "three"]) ids.push(await a.chat.send(room, text).done);
  await b.until("three", () => b.room(room).messages.length === 3);

  b.chat.close();
  await a.chat.edit(room, ids[0] ?? 0, "one!");
  await a.chat.delete(room, ids[1] ?? 0);
  await a.chat.send(room, "four").done;
  await a.chat.send(other, "elsewhere").done;
  const later = await server.room(b.userId, 9_002);
  b.heard.length = 0;
  const ready = b.event("ready");
  b.chat.connect();
  assert.equal((await ready).resumed, true);
  assert.deepEqual(b.texts(room), ["one!", "three", "four"]);
  assert.deepEqual(b.texts(other), ["elsewhere"]);
  assert.ok(b.chat.room(later));
  assert.deepEqual([b.room(room).unread, b.room(other).unread], [3, 1]);
  await a.until("delivered", () => a.room(room).messages.every(({ status }) => status !== "send"));
});

test("a network that is cut again and again loses no message and keeps their order", LIMIT, async () => {
  const [a, b] = [user(), user()];
  const room = await server.room(a.userId, b.userId);
  await Promise.all([a.connected(), b.connected()]);
  const texts = Array.from({ length: 60 }, (_, index) => `${index + 1}`);
  const sent = texts.map((text) => a.chat.send(room, text));
  for (const [index, outgoing] of sent.entries()) {
    await outgoing.done;
    if (index % 10 === 3) a.cut();
    if (index % 10 === 7) b.cut();
  }
  await b.until("all", () => b.room(room).last === texts.length && !b.room(room).behind);
  assert.deepEqual(b.texts(room), texts);
  assert.deepEqual(a.texts(room), texts);
  const told = b.heard.filter((line) => line.startsWith("message "));
  assert.equal(told.length, texts.length, "each is told once");
});

test("a restart: what was written meanwhile is sent after it, once and in order", LIMIT, async () => {
  const storage = new MemoryStorage();
  const [a, b] = [user({ storage }), user()];
  const room = await server.room(a.userId, b.userId);
  await Promise.all([a.connected(), b.connected()]);
  await a.chat.send(room, "before").done;
  const texts = ["before"];
  const write = (text: string): void => { texts.push(text); a.chat.send(room, text); };
  const lost = a.event("connection", ({ state }) => state === "waiting");
  for (let index = 0; index < 10; index++) write(`as it goes ${index}`);
  const stopped = server.stop();
  await lost;
  for (let index = 0; index < 10; index++) write(`while it is away ${index}`);
  await stopped;
  await server.start();
  await a.until("all sent", () => a.chat.pending(room).length === 0);
  await b.until("all", () => b.room(room).messages.length === texts.length);
  assert.deepEqual(b.texts(room), texts);
  assert.equal(storage.length, 0);
});

test("a cursor that is no good gives a plain start", LIMIT, async () => {
  const room = await server.room(8_001, 8_002);
  const frame = await new Promise<string>((resolve, reject) => {
    const socket = new WebSocket(`${server.url}?since=nonsense`, ["Bearer", server.token(8_001)]);
    socket.addEventListener("close", ({ code, reason }) => reject(new Error(`${code} ${reason}`)));
    socket.addEventListener("message", ({ data }) => {
      resolve(data);
      socket.close();
    });
  });
  const { type, resumed, rooms } = JSON.parse(frame) as { type: string; resumed: boolean; rooms: { room_id: number }[] };
  assert.deepEqual([type, resumed, rooms.map(({ room_id }) => room_id)], ["ready", false, [room]]);
});

test("a token is replaced in time, on the same connection", LIMIT, async () => {
  let asked = 0;
  const a: User = user({ token: async () => server.token(a.userId, ++asked === 1 ? 8 : 3600) });
  await a.connected();
  const expires = await new Promise<string>((resolve) => {
    a.sockets[0]?.addEventListener("message", ({ data }) => {
      const frame = JSON.parse(data) as { type: string; expires_at: string };
      if (frame.type === "auth") resolve(frame.expires_at);
    });
  });
  assert.ok(Date.parse(expires) > Date.now() + 3_000_000);
  assert.deepEqual([asked, a.sockets.length, a.chat.connection.state], [2, 1, "open"]);
});

test("a token that is refused twice ends it", LIMIT, async () => {
  const a: User = user({ token: async () => server.token(a.userId, -60) });
  const end = a.event("error");
  a.chat.connect();
  assert.equal((await end).code, "closed");
  assert.equal(a.chat.connection.state, "closed");
  assert.equal(a.sockets.length, 2);
});

test("a user who is disconnected comes back with a new token", LIMIT, async () => {
  const a = await user().connected();
  const ready = a.event("ready");
  await server.api("POST", `/users/${a.userId}/disconnect`);
  await ready;
  assert.equal(a.sockets.length, 2);
});

test("too fast: all of it arrives all the same", LIMIT, async () => {
  const [a, b] = [user(), user()];
  const rooms = [await server.room(a.userId, b.userId), await server.room(a.userId, b.userId, 9_004)];
  await Promise.all([a.connected(), b.connected()]);
  const sent = Array.from({ length: 250 }, (_, index) => a.chat.send(rooms[index % 2] ?? 0, `${index}`));
  await Promise.all(sent.map(({ done }) => done));
  assert.ok(a.sockets.length === 1, "nobody was closed for it");
});
