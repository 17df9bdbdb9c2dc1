import assert from "node:assert/strict";
import { test } from "node:test";
import { message, ready, said, stage, turn, view } from "./fake.js";

test("an edit and a delete are done when their events come back", async () => {
  const { chat, connected } = stage();
  const socket = await connected(view(7, { last_message: message(1, "a", 1) }));
  const edit = chat.edit(7, 1, "b");
  const gone = chat.delete(7, 1);
  const [{ ref: first = "" } = {}] = socket.actions("edit");
  const [{ ref: second = "" } = {}] = socket.actions("delete");
  assert.notEqual(first, second);
  await socket.says({ type: "message_edited", room_id: 7, message_id: 1, text: "b", ref: first });
  await edit;
  assert.equal(chat.room(7)?.message(1)?.text, "b");
  await socket.says({ type: "message_deleted", room_id: 7, message_id: 1, ref: second });
  await gone;
  assert.equal(chat.room(7)?.message(1), undefined);
});

test("an error answers the call it is of, and is no event then", async () => {
  const { chat, connected, news } = stage();
  const socket = await connected(view(7));
  const edit = chat.edit(7, 1, "b");
  const [{ ref = "" } = {}] = socket.actions("edit");
  await Promise.all([
    assert.rejects(edit, { name: "ParlorError", code: "not_author", action: "edit", message: "only its author" }),
    socket.says({ type: "error", code: "not_author", message: "only its author", action: "edit", ref }),
  ]);
  assert.deepEqual(news(), []);
  await socket.says({ type: "error", code: "rate_limited", message: "", action: "typing", retry_after_ms: 5 });
  assert.deepEqual(news(), ["error rate_limited"]);
});

test("a call doesn't wait for ever, nor for a connection", async () => {
  const { chat, clock, connected } = stage();
  await assert.rejects(chat.edit(7, 1, "b"), { code: "disconnected" });
  const socket = await connected(view(7));
  socket.pongs = true;
  const slow = assert.rejects(chat.edit(7, 1, "b"), { code: "no_answer" });
  await clock.pass(15_000);
  await slow;
  const lost = assert.rejects(chat.history(7), { code: "disconnected" });
  await socket.ends(1006);
  await lost;
  await assert.rejects(chat.history(99), { code: "not_found" });
});

test("typing is said again after a message", async () => {
  const { chat, connected } = stage();
  const socket = await connected(view(7));
  chat.typing(7);
  chat.typing(7);
  chat.send(7, "done");
  chat.typing(7);
  assert.equal(socket.actions("typing").length, 2);
});

test("typing is said once in 3 s, in each room", async () => {
  const { chat, clock, connected } = stage();
  chat.typing(7);
  const socket = await connected(view(7), view(8));
  for (const room of [7, 7, 8]) chat.typing(room);
  await clock.pass(2_999);
  chat.typing(7);
  assert.deepEqual(socket.actions("typing").map(({ room_id }) => room_id), [7, 8]);
  await clock.pass(1);
  chat.typing(7);
  assert.equal(socket.actions("typing").length, 3);
});

test("a new connection is told what is open, and what was read on the old one", async () => {
  const { chat, clock, last, connected } = stage();
  const socket = await connected(view(7, { last_message: message(5) }));
  chat.open(7);
  chat.read(7, 3);
  chat.read(7, 2); // less than the marker before
  chat.read(7, 99); // counts as 5, the last message
  chat.read(7, 5);
  assert.deepEqual(socket.actions("read").map(({ message_id }) => message_id), [3, 5]);
  await socket.ends(1006);
  await clock.pass(500);
  await last().says({ type: "ready", user_id: 1, resumed: true, cursor: "c", online: [], rooms: [], room_ids: [7, 8] });
  assert.deepEqual(last().sent.map(({ action }) => action), ["open", "read"]);
  await last().says({ type: "unread", room_id: 7, unread: 0, read: 5 });
  await last().ends(1006);
  await clock.pass(1_000);
  chat.closeRoom(7);
  await last().says({ type: "ready", user_id: 1, resumed: true, cursor: "c", online: [], rooms: [], room_ids: [7, 8] });
  assert.deepEqual(last().sent, []);
});

test("of a room that is gone nothing is said any more", async () => {
  const { chat, clock, last, connected } = stage();
  const socket = await connected(view(7), view(8));
  for (const room of [7, 8]) chat.open(room);
  await socket.says({ type: "room_removed", room_id: 7 });
  chat.closeRoom(7);
  assert.deepEqual(socket.actions("close"), []);
  await socket.ends(1006);
  await clock.pass(500);
  await last().says(ready([view(9)]));
  chat.closeRoom(8);
  assert.deepEqual(last().sent, []);
});

test("a room that isn't listed yet is looked at once it is", async () => {
  const { chat, last, connected } = stage();
  await connected(view(7));
  chat.open(7);
  await last().ends(1006);
  chat.connect();
  await turn();
  await last().says(ready([view(8)], { has_more: true }));
  assert.deepEqual(last().sent, []);
  void chat.moreRooms();
  await last().says({ type: "rooms", rooms: [view(7)], has_more: false, ref: last().actions("rooms")[0]?.ref ?? "" });
  assert.deepEqual(last().actions("open").map(({ room_id }) => room_id), [7]);
  assert.ok(chat.room(7)?.open);
});

test("what was read is said again where it didn't pass", async () => {
  const { chat, clock, connected } = stage();
  const socket = await connected(view(7, { last_message: message(5) }));
  chat.read(7, 5);
  await socket.says({ type: "error", code: "rate_limited", message: "", action: "read", retry_after_ms: 700 });
  await clock.pass(700);
  assert.equal(socket.actions("read").length, 2);
});

test("a listener's fault stops neither the others nor the model", async () => {
  const { chat, connected, news } = stage();
  const uncaught: unknown[] = [];
  const before = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.once("uncaughtException", (error) => uncaught.push(error.message));
  const off = chat.on("message", () => { throw new Error("a fault of the page"); });
  const socket = await connected(view(7));
  await socket.says(said(7, message(1)));
  await turn();
  off();
  for (const listener of before) process.on("uncaughtException", listener);
  assert.deepEqual(news(), ["message 7/1 m1", "unread 7 1"]);
  assert.deepEqual(uncaught, ["a fault of the page"]);
});
