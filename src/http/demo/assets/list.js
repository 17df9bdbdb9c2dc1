// The list of rooms: who or what each is, what was said last, how much is unread, and who is there.

import { $, called, clone, nameOf, others, setText, shortly, showRoomAvatar } from "./dom.js";

const elements = new Map(); // room id -> element

let on;

// Whom to tell, each a function: open(id), and more(), where the list's end has more.
export function listen(callbacks) {
  on = callbacks;
}

// The library has the rooms in their order; what differs in the page is changed. False for `mayHaveMore` once a
// page of rooms was the last one.
export function draw(chat, openId, mayHaveMore) {
  const { rooms, userId: me } = chat;
  const ids = new Set(rooms.map(({ id }) => id));
  for (const [id, element] of elements) {
    if (ids.has(id)) continue;
    element.remove();
    elements.delete(id);
  }
  rooms.forEach((room, index) => {
    const element = elements.get(room.id) ?? make(room);
    elements.set(room.id, element);
    const there = $("room-list").children[index];
    if (there !== element) $("room-list").insertBefore(element, there ?? null);
    fill(element, room, me);
    element.firstElementChild.setAttribute("aria-current", room.id === openId);
  });
  $("no-rooms").hidden = rooms.length > 0 || chat.connection.state !== "open";
  $("choose-a-room").hidden = rooms.length === 0;
  $("more-rooms").hidden = !mayHaveMore;
}

function make(room) {
  const element = clone("room-template");
  element.firstElementChild.dataset.room = room.id;
  return element;
}

function fill(element, room, me) {
  const part = (name) => element.querySelector(`.${name}`);
  showRoomAvatar(part("avatar"), room, me);
  setText(part("name"), nameOf(room, me));
  const last = room.lastMessage;
  setText(part("preview"), last ? preview(room, last, me) : "No messages yet");
  setText(element.querySelector("time"), last ? shortly(new Date(last.created_at)) : "");
  part("unread").hidden = room.unread === 0;
  setText(part("unread"), String(room.unread));
  part("unread").setAttribute("aria-label", `${room.unread} unread`);
  // In a group the dot would not say who is online.
  part("dot").hidden = room.kind !== "direct" || !others(room, me).some(({ online }) => online);
}

function preview({ kind }, { sender_id: author, text }, me) {
  // A line is all there is: more needn't be in the page.
  const line = text.slice(0, 200);
  if (author === me) return `You: ${line}`;
  return kind === "group" ? `${called(author)}: ${line}` : line;
}

$("room-list").addEventListener("click", (event) => {
  const id = event.target.closest(".room")?.dataset.room;
  if (id) on.open(Number(id));
});
$("more-rooms").addEventListener("click", () => on.more());
