import assert from "node:assert/strict";
import { test } from "node:test";
import type { Incoming } from "../src/level3.js";
import { type FakeSocket, MemoryStorage, message, ready, said, type Sent, stage, turn, view } from "./fake.js";

const texts = (socket: FakeSocket): unknown[] => socket.actions("send").map((frame) => frame.message);
const lastSend = (socket: FakeSocket): Sent => {
  const sent = socket.actions("send").at(-1);
  assert.ok(sent);
  return sent;
};

/** Lets the server acknowledge the last sent message. */
const acknowledge = (socket: FakeSocket, id: number): Promise<void> => {
  const { ref, room_id, message: text } = lastSend(socket);
  return socket.says(said(room_id as number, message(id, text as string, 1), { ref: ref ?? "" }));
};

const refuse = (socket: FakeSocket, code: string, more: object = {}): Promise<void> => {
  const { ref } = lastSend(socket);
  return socket.says({ type: "error", action: "send", code, message: `it is ${code}`, ref, ...more } as Incoming);
};

test("one of a room is under way at a time, in order; rooms don't wait for each other", async () => {
  const { chat, connected } = stage();
  const socket = await connected(view(7), view(8));
  const [a, b] = [chat.send(7, "a"), chat.send(7, "b")];
  assert.deepEqual([a.state, b.state], ["sending", "queued"]);
  assert.deepEqual(texts(socket), ["a"]);
  await acknowledge(socket, 1);
  assert.deepEqual(texts(socket), ["a", "b"]);
  chat.send(8, "c");
  assert.deepEqual(texts(socket), ["a", "b", "c"]);
  assert.equal(await a.done, 1);
  assert.deepEqual(chat.pending(7), [b]);
  assert.deepEqual(chat.room(7)?.messages.map(({ text }) => text), ["a"]);
});

test("what is sent while there is no connection goes out with the next one", async () => {
  const { chat, connected } = stage();
  chat.send(7, "early");
  const socket = await connected(view(7));
  assert.deepEqual(texts(socket), ["early"]);
});

test("what wasn't acknowledged is sent again, as the same message, before what came later", async () => {
  const { chat, clock, last, connected } = stage();
  const socket = await connected(view(7));
  const [a] = [chat.send(7, "a"), chat.send(7, "b")];
  await socket.ends(1006);
  assert.equal(a.state, "queued");
  await clock.pass(500);
  await last().says({ type: "ready", user_id: 1, resumed: true, cursor: "c", online: [], rooms: [], room_ids: [7, 8] });
  assert.deepEqual(texts(last()), ["a"]);
  assert.equal(lastSend(last()).client_id, lastSend(socket).client_id);
  await acknowledge(last(), 1);
  assert.deepEqual(texts(last()), ["a", "b"]);
});

test("one that was written and deleted meanwhile was sent all the same", async () => {
  const { chat, connected } = stage();
  const socket = await connected(view(7));
  const outgoing = chat.send(7, "a");
  await socket.says({ type: "message_deleted", room_id: 7, message_id: 5, ref: lastSend(socket).ref ?? "" });
  assert.equal(await outgoing.done, 5);
});

test("rate_limited waits as long as it is told, with all rooms", async () => {
  const { chat, clock, connected } = stage();
  const socket = await connected(view(7), view(8));
  chat.send(7, "a");
  await refuse(socket, "rate_limited", { retry_after_ms: 2_500 });
  chat.send(8, "b");
  await clock.pass(2_499);
  assert.deepEqual(texts(socket), ["a"]);
  await clock.pass(1);
  // After `rate_limited`, only one message of all rooms is sent at a time. If the rate is still too high, the server
  // refuses at most one message.
  assert.deepEqual(texts(socket), ["a", "a"]);
  await acknowledge(socket, 1);
  assert.deepEqual(texts(socket), ["a", "a", "b"]);
});

test("a socket that is refused 10 times in 10 s is closed, so a short wait is made longer", async () => {
  const { chat, clock, connected } = stage();
  const socket = await connected(view(7));
  chat.send(7, "a");
  for (let second = 0; second < 10; second += 0.25) {
    if (chat.pending(7)[0]?.state === "sending") await refuse(socket, "rate_limited", { retry_after_ms: 250 });
    await clock.pass(250);
  }
  assert.ok(texts(socket).length < 9, `${texts(socket).length}`);
});

for (const code of ["invalid_request", "rejected", "not_found", "not_author"]) {
  test(`${code} is for good, and the next one goes`, async () => {
    const storage = new MemoryStorage();
    const { chat, connected } = stage({ storage });
    const socket = await connected(view(7));
    const [a] = [chat.send(7, "a"), chat.send(7, "b")];
    await refuse(socket, code);
    assert.equal(a.state, "failed");
    await assert.rejects(a.done, { code, message: `it is ${code}`, action: "send" });
    assert.deepEqual(texts(socket), ["a", "b"]);
    assert.equal(storage.length, 1);
  });
}

for (const code of ["timeout", "unavailable"]) {
  test(`${code} is tried again until it passes, each time later`, async () => {
    const { chat, clock, connected } = stage();
    const socket = await connected(view(7));
    const outgoing = chat.send(7, "a");
    for (const wait of [500, 1_000, 2_000, 4_000]) {
      await refuse(socket, code);
      const before = texts(socket).length;
      await clock.pass(wait - 1);
      assert.equal(texts(socket).length, before);
      await clock.pass(1);
      assert.equal(texts(socket).length, before + 1);
    }
    await acknowledge(socket, 1);
    assert.equal(await outgoing.done, 1);
  });
}

test("a fault that a message meets each time is that message's", async () => {
  const { chat, clock, connected } = stage();
  const socket = await connected(view(7));
  socket.pongs = true;
  const outgoing = chat.send(7, "a");
  for (const _ of Array(5)) {
    await refuse(socket, "internal");
    await clock.pass(4_000);
  }
  await assert.rejects(outgoing.done, { code: "internal" });
  assert.equal(texts(socket).length, 5);
});

test("no answer: the same message is sent again", async () => {
  const { chat, clock, connected } = stage();
  const socket = await connected(view(7));
  socket.pongs = true;
  chat.send(7, "a");
  await clock.pass(15_500);
  assert.deepEqual(texts(socket), ["a", "a"]);
  const [first, second] = socket.actions("send");
  assert.equal(first?.client_id, second?.client_id);
  assert.notEqual(first?.ref, second?.ref);
});

test("what closes the socket for its size isn't sent again", async () => {
  const { chat, clock, last, connected } = stage();
  const socket = await connected(view(7), view(8));
  const large = chat.send(7, "x".repeat(70_000));
  const small = chat.send(8, "y");
  await socket.ends(1009);
  await assert.rejects(large.done, { code: "too_large" });
  await clock.pass(500);
  await last().says(ready([view(7), view(8)]));
  assert.deepEqual(texts(last()), ["y"]);
  assert.equal(small.state, "sending");
});

test("the largest is the one with the most bytes", async () => {
  const { chat, connected } = stage();
  const socket = await connected(view(7), view(8));
  const [longer, larger] = [chat.send(7, "x".repeat(40_000)), chat.send(8, "€".repeat(30_000))];
  await socket.ends(1009);
  assert.deepEqual([longer.state, larger.state], ["queued", "failed"]);
});

test("a small message isn't what a socket was closed for, unless it is so each time", async () => {
  const { chat, last, connected } = stage();
  await connected(view(7));
  const small = chat.send(7, "a");
  const edit = assert.rejects(chat.edit(7, 1, "x".repeat(70_000)), { code: "disconnected" });
  for (const _ of Array(4)) {
    await last().ends(1009);
    assert.equal(small.state, "queued");
    chat.connect();
    await turn();
    await last().says(ready([view(7)]));
    assert.deepEqual(texts(last()), ["a"]);
  }
  await edit;
  await last().ends(1009); // the fifth close: this server's limit must be very low
  await assert.rejects(small.done, { code: "too_large" });
});

test("a page that closes the moment it is connected keeps what it has", async () => {
  const { chat, connected, last } = stage();
  chat.send(7, "a");
  chat.on("ready", () => chat.close());
  await connected(view(7));
  assert.deepEqual([texts(last()), chat.pending(7).map(({ state }) => state)], [[], ["queued"]]);
});

test("it outlives the page, in its order", async () => {
  const storage = new MemoryStorage();
  const before = stage({ storage });
  await before.connected(view(7));
  for (const text of ["a", "b", "c"]) before.chat.send(7, text);
  const ids = before.chat.pending(7).map(({ clientId }) => clientId);
  assert.equal(storage.length, 3);

  const { chat, connected } = stage({ storage });
  const socket = await connected(view(7));
  assert.deepEqual(chat.pending(7).map(({ text }) => text), ["a", "b", "c"]);
  for (const id of [1, 2, 3]) await acknowledge(socket, id);
  assert.deepEqual(texts(socket), ["a", "b", "c"]);
  assert.deepEqual(socket.actions("send").map((frame) => frame.client_id), ids);
  assert.equal(storage.length, 0);
});

test("what is written before anyone has connected is kept once it is known whose it is", async () => {
  const storage = new MemoryStorage();
  const { chat, connected } = stage({ storage });
  chat.send(7, "a");
  assert.equal(storage.length, 0);
  await connected(view(7));
  assert.equal(storage.length, 1);

  const known = stage({ storage: new MemoryStorage(), userId: 1 });
  known.chat.send(7, "a");
  assert.equal(known.chat.pending(7).length, 1);
});

test("another user's messages stay where they are", async () => {
  const storage = new MemoryStorage();
  const mine = stage({ storage, userId: 1 });
  mine.chat.send(7, "mine");
  const theirs = stage({ storage, userId: "1" });
  assert.deepEqual(theirs.chat.pending(7), []);
  assert.equal(storage.length, 1);
});

test("a token of someone else ends it before anything is sent under the wrong name", async () => {
  const { chat, clock, last, news, connected } = stage();
  const socket = await connected(view(7));
  chat.send(7, "a");
  await socket.ends(1006);
  await clock.pass(500);
  await last().says(ready([], { user_id: 2 }));
  assert.deepEqual(texts(last()), []);
  assert.equal(chat.connection.state, "closed");
  assert.deepEqual(news(), ["error wrong_user"]);
});

test("two tabs: none takes away what the other has put there, and both send the same messages", async () => {
  const storage = new MemoryStorage();
  const [one, two] = [stage({ storage, userId: 1 }), stage({ storage, userId: 1 })];
  one.chat.send(7, "from one");
  two.chat.send(7, "from two");
  assert.equal(storage.length, 2);

  const three = stage({ storage, userId: 1 }); // a new tab loads both messages
  const socket = await three.connected(view(7));
  const other = await one.connected(view(7));
  await acknowledge(socket, 1);
  await acknowledge(other, 1);
  const sent = [...socket.actions("send"), ...other.actions("send")].filter((frame) => frame.message === "from one");
  assert.equal(new Set(sent.map((frame) => frame.client_id)).size, 1);
  await acknowledge(socket, 2);
  assert.equal(storage.length, 0);
});

test("a storage that is full is told, and sends all the same", async () => {
  const storage = new MemoryStorage();
  storage.setItem = () => { throw new Error("QuotaExceededError"); };
  const { chat, news, connected } = stage({ storage });
  const socket = await connected(view(7));
  chat.send(7, "a");
  assert.deepEqual(texts(socket), ["a"]);
  assert.deepEqual(news(), ["error storage"]);
});

test("what someone else left in the storage is no message", async () => {
  const storage = new MemoryStorage();
  for (const [id, value] of Object.entries({ a: "{", b: "null", c: '{"roomId":"7"}' })) storage.setItem(`parlor:outgoing:1:${id}`, value);
  storage.setItem("theirs", "x");
  const { connected } = stage({ storage });
  const socket = await connected(view(7));
  await turn();
  assert.deepEqual(texts(socket), []);
});
