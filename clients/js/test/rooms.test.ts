import assert from "node:assert/strict";
import { test } from "node:test";
import type { RoomView } from "../src/level3.js";
import { at, member, message, ready, said, stage, turn, view } from "./fake.js";

test("rooms come and go, and are in the order of their activity", async () => {
  const { chat, connected, news } = stage();
  const socket = await connected(view(7, { last_activity: at(3) }), view(8, { last_activity: at(2) }));
  await socket.says({ type: "room_added", room_id: 9, room: view(9, { last_activity: at(1) }) });
  assert.deepEqual(chat.rooms.map(({ id }) => id), [7, 8, 9]);
  await socket.says(said(9, message(60)), { type: "room_changed", room_id: 8, room: view(8, { name: "new" }) });
  assert.deepEqual(chat.rooms.map(({ id }) => id), [9, 7, 8]);
  assert.equal(chat.room(8)?.name, "new");
  await socket.says({ type: "room_removed", room_id: 7 });
  assert.deepEqual(chat.rooms.map(({ id }) => id), [9, 8]);
  assert.deepEqual(news().filter((line) => /added|changed|removed/.test(line)), ["added 9", "changed 8", "removed 7"]);
});

test("more rooms, page by page", async () => {
  const { chat, last, connected } = stage();
  await connected();
  await last().ends(1006);
  chat.connect();
  await turn();
  await last().says(ready([view(9, { last_activity: at(9) }), view(8, { last_activity: at(8) })], { has_more: true }));
  const more = chat.moreRooms();
  const [asked] = last().actions("rooms");
  assert.deepEqual([asked?.before, asked?.before_room], [at(8), 8]);
  await last().says({ type: "rooms", rooms: [view(7, { last_activity: at(7) })], has_more: false, ref: asked?.ref ?? "" });
  assert.equal(await more, false);
  assert.deepEqual(chat.rooms.map(({ id }) => id), [9, 8, 7]);
  assert.equal(await chat.moreRooms(), false);
  assert.equal(last().actions("rooms").length, 1);
});

test("the next page begins where the server says that the last one ended", async () => {
  const { chat, last } = stage();
  chat.connect();
  await turn();
  await last().says(ready([view(9), view(8)], { has_more: true, next: "a" }));
  const pages = [chat.moreRooms()];
  assert.equal(last().actions("rooms")[0]?.next, "a");
  await last().says({ type: "rooms", rooms: [view(7), view(6)], has_more: true, next: "b", ref: last().actions("rooms")[0]?.ref ?? "" });
  // Another request for rooms does not change the beginning of the next page.
  pages.push(chat.refreshMarks().then(() => true));
  await last().says({ type: "rooms", rooms: [view(9)], has_more: true, next: "c", ref: last().actions("rooms")[1]?.ref ?? "" });
  pages.push(chat.moreRooms());
  assert.deepEqual([last().actions("rooms")[2]?.next, last().actions("rooms")[2]?.before], ["b", undefined]);
  await last().says({ type: "rooms", rooms: [view(5)], has_more: false, ref: last().actions("rooms")[2]?.ref ?? "" });
  assert.deepEqual(await Promise.all(pages), [true, true, false]);
  assert.deepEqual(chat.rooms.map(({ id }) => id), [9, 8, 7, 6, 5]);
});

test("a message in a room further down than was listed brings it up", async () => {
  const { chat, connected, news } = stage();
  const socket = await connected(view(9));
  await socket.says(said(7, message(5)));
  const [asked] = socket.actions("rooms");
  await socket.says(said(7, message(6)));
  assert.equal(socket.actions("rooms").length, 1);
  await socket.says({ type: "rooms", rooms: [view(7, { last_message: message(5), unread: 1 })], has_more: true, ref: asked?.ref ?? "" });
  assert.deepEqual(news(), ["added 7", "message 7/6 m6", "unread 7 2"]);
  assert.deepEqual(chat.room(7)?.messages.map(({ text }) => text), ["m5", "m6"]);
});

test("what was heard of a room before it was listed doesn't outlive the connection, but that it is to be listed does", async () => {
  const { chat, last, connected } = stage();
  await connected(view(9));
  await last().says(said(7, message(5)), { type: "message_edited", room_id: 7, message_id: 5, text: "then" });
  await last().ends(1006);
  chat.connect();
  await turn();
  await last().says({ type: "ready", user_id: 1, resumed: true, cursor: "c", online: [], rooms: [], room_ids: [7, 9] });
  const [asked] = last().actions("rooms");
  const now = message(5, "now", 2, { updated_at: at(8) });
  await last().says({ type: "rooms", rooms: [view(7, { last_message: now })], has_more: false, ref: asked?.ref ?? "" });
  assert.deepEqual(chat.room(7)?.messages.map(({ text }) => text), ["now"]);
});

test("presence, in every room of the two; typing; and what an application's action tells", async () => {
  const { chat, connected, news } = stage();
  const socket = await connected(view(7), view(8));
  const custom: unknown[] = [];
  chat.on("custom", ({ frame }) => custom.push(frame.name));
  await socket.says(
    { type: "presence", user_id: 2, online: true },
    { type: "typing", room_id: 7, sender_id: 2 },
    { type: "custom", name: "poll", room_id: 7, answer: 42 },
    { type: "presence", user_id: 2, online: false, last_seen: at(5) },
    { type: "something new" } as never,
  );
  assert.deepEqual(news(), ["presence 2 true", "typing 7 2", "presence 2 false"]);
  assert.equal(chat.room(8)?.members.get(2)?.last_seen, at(5));
  assert.deepEqual(custom, ["poll"]);
});

test("who in a group has read what is asked for, and only ever rises", async () => {
  const { chat, connected, news } = stage();
  const group = (two: number, three: number) => view(7, {
    kind: "group", last_message: message(5, "mine", 1),
    members: [member(1), member(2, { delivered: 5, read: two }), member(3, { delivered: 5, read: three })],
  });
  const socket = await connected(group(0, 4));
  const read = (id: number): number | undefined => chat.room(7)?.members.get(id)?.read;
  const refresh = async (...rooms: RoomView[]): Promise<void> => {
    const done = chat.refreshMarks();
    await socket.says({ type: "rooms", rooms, has_more: false, ref: socket.actions("rooms").at(-1)?.ref ?? "" });
    await done;
  };
  news();
  await refresh(group(5, 3));
  assert.deepEqual([read(2), read(3)], [5, 4]);
  assert.equal(chat.room(7)?.messages[0]?.status, "delivered");
  assert.deepEqual(news(), ["marks 7"]);
  await refresh(group(5, 4));
  assert.deepEqual(news(), []);
  await refresh(group(5, 5));
  assert.equal(chat.room(7)?.messages[0]?.status, "read");
});

test("a room that is looked at keeps what was asked for, until another one is", async () => {
  const { chat, connected } = stage();
  const socket = await connected(view(7, { last_message: message(1_000) }), view(8));
  chat.open(7);
  const older = chat.history(7, { before: 1_000, limit: 200 });
  const page = Array.from({ length: 200 }, (_, index) => message(999 - index));
  await socket.says({ type: "history", messages: page, has_more: true, ref: socket.actions("history")[0]?.ref ?? "" });
  await older;
  for (let id = 1_001; id <= 3_100; id++) await socket.says(said(7, message(id)));
  assert.equal(chat.room(7)?.messages.length, 2_200);
  assert.equal(chat.room(7)?.from, 901);
  chat.closeRoom(7);
  await socket.says(said(7, message(3_101)));
  assert.equal(chat.room(7)?.messages.length, 400);
  chat.open(8);
  assert.equal(chat.room(7)?.messages.length, 200);
});

test("a page that was read before a room was left doesn't bring it back, and another invitation does", async () => {
  const { chat, connected } = stage();
  const socket = await connected(view(9));
  await socket.says({ type: "room_added", room_id: 7, room: view(7) });
  await socket.says(said(8, message(5)));
  const [asked] = socket.actions("rooms");
  await socket.says({ type: "room_removed", room_id: 7 });
  await socket.says({ type: "rooms", rooms: [view(9), view(8), view(7)], has_more: false, ref: asked?.ref ?? "" });
  assert.deepEqual(chat.rooms.map(({ id }) => id).sort(), [8, 9]);
  await socket.says({ type: "room_added", room_id: 7, room: view(7) });
  assert.deepEqual(chat.rooms.map(({ id }) => id).sort(), [7, 8, 9]);
});
