import assert from "node:assert/strict";
import { test } from "node:test";
import type { Incoming, ResumedRoom } from "../src/level3.js";
import type { Room } from "../src/index.js";
import { at, type FakeSocket, member, message, ready, said, stage, view } from "./fake.js";

const texts = (room: Room | undefined): string[] => (room?.messages ?? []).map(({ text }) => text);
const statuses = (room: Room | undefined): string => (room?.messages ?? []).map(({ status }) => status).join(" ");

const resumed = (rooms: ResumedRoom[], more: object = {}): Incoming =>
  ({ type: "ready", user_id: 1, resumed: true, cursor: "c9", online: [], rooms, room_ids: [7], ...more });

const page = (socket: FakeSocket, messages: object[], has_more = false): Promise<void> => {
  const ref = socket.actions("history").at(-1)?.ref;
  return socket.says({ type: "history", messages, has_more, ref } as Incoming);
};

/** Connects a chat whose room 7 has the messages 1 to 3 of user 2. */
async function talking(more = {}) {
  const set = stage();
  const socket = await set.connected(view(7, more));
  await socket.says(...[1, 2, 3].map((id) => said(7, message(id))));
  return { ...set, socket, room: () => set.chat.room(7) as Room };
}

test("any frame twice changes nothing", async () => {
  const { chat, socket, news, room } = await talking({ members: [member(1), member(2), member(3)] });
  const frames: Incoming[] = [
    said(7, message(4, "mine", 1)),
    { type: "mark_message_as_delivered", room_id: 7, message: message(4, "mine", 1, { status: "delivered" }) },
    { type: "mark_message_as_read", room_id: 7, message: message(4, "mine", 1, { status: "read" }) },
    { type: "message_edited", room_id: 7, message_id: 2, text: "m2!" },
    { type: "message_deleted", room_id: 7, message_id: 1 },
    { type: "unread", room_id: 7, unread: 0, read: 3 },
    { type: "room_added", room_id: 8, room: view(8) },
    { type: "room_removed", room_id: 8 },
  ];
  news();
  const seen = (): string => JSON.stringify([chat.rooms.map((room) => [room.id, room.messages, [...room.members], room.unread, room.from, room.last])]);
  for (const frame of frames) {
    await socket.says(frame);
    const once = seen();
    assert.notDeepEqual(news(), [], JSON.stringify(frame));
    await socket.says(frame);
    assert.equal(seen(), once);
    if (frame.type !== "message_deleted" && frame.type !== "message_edited") assert.deepEqual(news(), [], JSON.stringify(frame));
    news();
  }
  await socket.says(said(7, message(1))); // the deleted message stays deleted
  assert.deepEqual(texts(room()), ["m2!", "m3", "mine"]);
  assert.deepEqual(socket.actions("history"), []);
});

test("in a direct room a status follows from the other one's marks", async () => {
  const { socket, room, news } = await talking();
  await socket.says(said(7, message(4, "a", 1)), said(7, message(5, "b", 1)));
  assert.equal(statuses(room()), "send send send send send");
  news();
  await socket.says({ type: "mark_message_as_read", room_id: 7, message: message(5, "b", 1, { status: "read" }) });
  assert.equal(statuses(room()), "send send send read read");
  assert.deepEqual(news(), ["marks 7"]);
  assert.equal(room().members.get(2)?.read, 5);
  assert.equal(room().read, 0);
});

test("in a group a status is the lowest over all others, and never falls", async () => {
  const members = [member(1), member(2, { delivered: 3, read: 3 }), member(3, { delivered: 2, read: 1 })];
  const { chat, socket, room } = await talking({ kind: "group", members, last_message: null });
  await socket.says(said(7, message(4, "mine", 1)));
  await socket.says({ type: "room_added", room_id: 8, room: view(8, { members, last_message: message(2, "x", 1) }) });
  assert.equal(chat.room(8)?.messages[0]?.status, "delivered");
  // A new member has read nothing, but a delivered message stays delivered.
  await socket.says({ type: "room_changed", room_id: 8, room: view(8, { members: [...members, member(4)] }) });
  assert.equal(chat.room(8)?.messages[0]?.status, "delivered");
  // The members who had not read the message leave.
  await socket.says({ type: "room_changed", room_id: 8, room: view(8, { members: members.slice(0, 2) }) });
  assert.equal(chat.room(8)?.messages[0]?.status, "read");
  assert.equal(statuses(room()), "send send send send");
});

test("others' messages count as unread, not one's own, nor where the room is open", async () => {
  const { chat, socket, room, news } = await talking({ unread: 2 });
  assert.equal(room().unread, 5);
  await socket.says(said(7, message(4, "mine", 1)));
  assert.equal(room().unread, 5);
  chat.open(7);
  assert.deepEqual(socket.actions("open").map(({ room_id }) => room_id), [7]);
  await socket.says({ type: "unread", room_id: 7, unread: 0, read: 4 }, said(7, message(5)));
  assert.equal(room().unread, 0);
  assert.equal(room().read, 4);
  chat.closeRoom(7);
  news();
  await socket.says(said(7, message(6)));
  assert.deepEqual(news(), ["message 7/6 m6", "unread 7 1"]);
});

test("a gap is seen by the numbers, and filled by history", async () => {
  const { socket, room, news } = await talking();
  news();
  await socket.says(said(7, message(8)));
  assert.deepEqual(texts(room()), ["m1", "m2", "m3"]);
  assert.equal(room().lastMessage?.text, "m8");
  const [asked] = socket.actions("history");
  assert.deepEqual({ after: asked?.after, room_id: asked?.room_id }, { after: 3, room_id: 7 });
  // Before the page arrives, a message, an edit and a delete arrive. The page does not contain these changes, because
  // the server read the page from the database earlier.
  await socket.says(said(7, message(9)), { type: "message_edited", room_id: 7, message_id: 4, text: "m4!" },
    { type: "message_deleted", room_id: 7, message_id: 5 });
  await page(socket, [message(4), message(5)], true);
  assert.deepEqual(texts(room()), ["m1", "m2", "m3", "m4!"]);
  assert.equal(socket.actions("history").at(-1)?.after, 5);
  await page(socket, [message(6), message(7), message(8)]);
  assert.deepEqual(texts(room()), ["m1", "m2", "m3", "m4!", "m6", "m7", "m8", "m9"]);
  assert.deepEqual(news(), [4, 6, 7, 8, 9].map((id) => `message 7/${id} m${id}${id === 4 ? "!" : ""}`)
    .flatMap((line, index) => (index === 0 ? [line, "unread 7 4"] : index === 4 ? [line, "unread 7 8"] : [line])));
  assert.ok(!room().behind);
  assert.equal(socket.actions("history").length, 2);
});

test("two gaps, one behind the other", async () => {
  const { socket, room } = await talking();
  await socket.says(said(7, message(5)));
  // The requested page does not contain message 7, because the server read the page from the database earlier.
  await socket.says(said(7, message(7)));
  await page(socket, [message(4), message(5)]);
  assert.deepEqual([texts(room()).at(-1), room().behind], ["m5", true]);
  assert.equal(socket.actions("history").at(-1)?.after, 5);
  await page(socket, [message(6), message(7)]);
  assert.deepEqual([texts(room()).at(-1), room().behind], ["m7", false]);
});

test("a gap that isn't one, for what was there is deleted, is closed all the same", async () => {
  const { socket, room } = await talking();
  await socket.says(said(7, message(6)));
  await page(socket, [message(6)]);
  await socket.says(said(7, message(7)));
  assert.deepEqual(texts(room()), ["m1", "m2", "m3", "m6", "m7"]);
  assert.equal(socket.actions("history").length, 1);
});

test("a gap that couldn't be filled is filled later", async () => {
  const { clock, socket, room } = await talking();
  await socket.says(said(7, message(5)));
  const ref = socket.actions("history")[0]?.ref ?? "";
  await socket.says({ type: "error", code: "rate_limited", message: "", action: "history", retry_after_ms: 300, ref });
  await clock.pass(300);
  await page(socket, [message(4), message(5)]);
  assert.deepEqual(texts(room()), ["m1", "m2", "m3", "m4", "m5"]);
});

test("a gap that is too wide isn't filled: the window starts anew", async () => {
  const { socket, room } = await talking();
  await socket.says(said(7, message(2_000)));
  assert.deepEqual([texts(room()), room().from, room().last], [["m2000"], 2_000, 2_000]);
  assert.deepEqual(socket.actions("history"), []);
});

test("history brings older messages, oldest first, up to the first", async () => {
  const { chat, connected } = stage();
  const socket = await connected(view(7, { last_message: message(45) }));
  const room = chat.room(7) as Room;
  assert.deepEqual([texts(room), room.from], [["m45"], 45]);
  const older = chat.history(7, { before: room.from, limit: 2 });
  assert.equal(socket.actions("history")[0]?.limit, 2);
  await page(socket, [message(44), message(42)], true);
  assert.deepEqual((await older).messages.map(({ text }) => text), ["m42", "m44"]);
  assert.equal((await older).hasMore, true);
  assert.deepEqual([texts(room), room.from], [["m42", "m44", "m45"], 42]);

  // The next page is not adjacent to the known messages, so the room does not keep its messages.
  const elsewhere = chat.history(7, { before: 10 });
  await page(socket, [message(9)], true);
  assert.deepEqual((await elsewhere).messages.map(({ text }) => text), ["m9"]);
  assert.equal(room.from, 42);

  void chat.history(7, { before: room.from });
  await page(socket, [message(41)]);
  assert.equal(room.from, 1);
});

test("a message that waits in a list as the newest may be deleted", async () => {
  const { chat, connected } = stage();
  const socket = await connected(view(7, { last_message: message(45) }));
  await socket.says({ type: "message_deleted", room_id: 7, message_id: 45 }, said(7, message(46)));
  assert.deepEqual(texts(chat.room(7)), ["m46"]);
  assert.deepEqual(socket.actions("history"), []);
});

test("resumed: what changed is told, and no more", async () => {
  const { clock, last, socket, room, news } = await talking();
  await socket.ends(1006);
  await clock.pass(500);
  news();
  const members = [member(1), member(2, { delivered: 9, read: 9 }), member(3)];
  await last().says(resumed([{
    ...view(7, { members, unread: 1, last_message: message(6, "m6", 2), last_activity: at(6) }),
    messages: [message(4, "mine", 1), message(6)], edited: [message(2, "m2!", 2, { updated_at: at(7) })], deleted: [1, 99],
  }], { online: [2] }));
  assert.deepEqual(texts(room()), ["m2!", "m3", "mine", "m6"]);
  assert.deepEqual(news(), ["message 7/4 mine", "message 7/6 m6", "edited 7/2 m2!", "deleted 7/1", "marks 7", "unread 7 1", "changed 7", "ready true"]);
  assert.equal(room().unread, 1);
  assert.deepEqual([...room().members.values()].map(({ online }) => online), [true, true, false]);
  await last().says(said(7, message(7)));
  assert.equal(room().unread, 2);
  assert.deepEqual(last().actions("history"), []);
});

test("resumed with more than it tells: history brings the rest, counted once", async () => {
  const { clock, last, socket, room } = await talking();
  await socket.ends(1006);
  await clock.pass(500);
  await last().says(resumed([{ ...view(7, { unread: 4, last_message: message(7) }), messages: [message(4)], has_more: true }]));
  assert.equal(last().actions("history")[0]?.after, 4);
  await page(last(), [message(5), message(6), message(7)]);
  assert.deepEqual(texts(room()), ["m1", "m2", "m3", "m4", "m5", "m6", "m7"]);
  assert.equal(room().unread, 4);
});

test("pages that are cut below their limit are followed to the end", async () => {
  const { clock, last, socket, room } = await talking();
  await socket.ends(1006);
  await clock.pass(500);
  await last().says(resumed([{ ...view(7, { unread: 4, last_message: message(7) }), messages: [message(4)], has_more: true }]));
  for (const id of [5, 6]) {
    assert.equal(last().actions("history").at(-1)?.after, id - 1);
    await page(last(), [message(id)], true);
  }
  // The first frame already had message 7, the last one, so no further page is requested.
  assert.deepEqual(texts(room()), ["m1", "m2", "m3", "m4", "m5", "m6", "m7"]);
  assert.equal(room().unread, 4);
  assert.equal(last().actions("history").length, 2);
});

test("a gap outlives the connection that it was seen on", async () => {
  const { clock, last, socket, room } = await talking();
  await socket.says(said(7, message(5)));
  await socket.ends(1006);
  await clock.pass(500);
  await last().says(resumed([{ ...view(7, { last_message: message(6) }), messages: [message(6)] }]));
  assert.equal(last().actions("history")[0]?.after, 3);
  await page(last(), [message(4), message(5), message(6)]);
  assert.deepEqual(texts(room()), ["m1", "m2", "m3", "m4", "m5", "m6"]);
});

test("not resumed: nothing of before is believed, but a room stays the same object", async () => {
  const { chat, clock, last, socket, room } = await talking();
  const before = room();
  await socket.says({ type: "room_added", room_id: 8, room: view(8) });
  await socket.ends(1006);
  await clock.pass(500);
  await last().says(ready([view(7, { last_message: message(9), unread: 5 })]));
  assert.equal(room(), before);
  assert.deepEqual([texts(room()), room().from, room().unread], [["m9"], 9, 5]);
  assert.deepEqual(chat.rooms.map(({ id }) => id), [7]);
});

test("resumed: rooms joined and left", async () => {
  const { chat, clock, last, socket, news } = await talking();
  await socket.ends(1006);
  await clock.pass(500);
  news();
  await last().says(resumed([{ ...view(8), added: true }], { room_ids: [8] }));
  assert.deepEqual(chat.rooms.map(({ id }) => id), [8]);
  assert.deepEqual(news(), ["removed 7", "added 8", "ready true"]);
});

test("resumed: who is online is told of all rooms, and of some in those that are large", async () => {
  const { chat, clock, last, socket } = await talking();
  await socket.says({ type: "room_added", room_id: 8, room: view(8, { members: [member(1), member(2), member(3), member(4)] }) });
  const many = Array.from({ length: 101 }, (_, at) => member(at + 1));
  await socket.says({ type: "room_added", room_id: 9, room: view(9, { members: many }) });
  for (const user_id of [2, 3, 4, 101]) await socket.says({ type: "presence", user_id, online: true });
  await socket.ends(1006);
  await clock.pass(500);
  await last().says(resumed([view(7)], { room_ids: [7, 8, 9], online: [4] }));
  const online = (room: number): unknown[] =>
    [...(chat.room(room)?.members.values() ?? [])].filter((member) => member.online).map((member) => member.user_id);
  assert.deepEqual([online(7), online(8)], [[1], [1, 4]]);
  assert.deepEqual(online(9), [1, 3, 4, 101]);
});

test("a busy room that isn't looked at keeps its newest messages", async () => {
  const { chat, connected } = stage();
  const socket = await connected(view(7));
  for (let id = 1; id <= 250; id++) await socket.says(said(7, message(id)));
  const room = chat.room(7) as Room;
  assert.deepEqual([room.messages.length, room.from, room.last], [200, 51, 250]);
});
