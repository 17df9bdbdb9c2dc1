// The list of rooms: name, last message, number of unread messages, and presence.

import { $, called, clone, nameOf, others, setText, shortly, showRoomAvatar } from "./dom.js";

const elements = new Map(); // room id -> element

let on;

// The callbacks, each a function: open(id), and more(), which loads the next rooms.
export function listen(callbacks) {
  on = callbacks;
}

// Draws the library's rooms in their order, and changes only elements that differ. `mayHaveMore` is false once the last
// page of rooms is loaded.
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
  // The list shows one line: the rest of a long text stays out of the page.
  const line = text.slice(0, 200);
  if (author === me) return `You: ${line}`;
  return kind === "group" ? `${called(author)}: ${line}` : line;
}

$("room-list").addEventListener("click", (event) => {
  const id = event.target.closest(".room")?.dataset.room;
  if (id) on.open(Number(id));
});
$("more-rooms").addEventListener("click", () => on.more());
