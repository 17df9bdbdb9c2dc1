// Access to the elements of index.html, and the names, avatars and times that several parts show.

export const $ = (id) => document.getElementById(id);

// A new element from a <template>.
export const clone = (template) => $(template).content.firstElementChild.cloneNode(true);

// Writes a text only if it changes, which spares screen readers and the layout.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Draws once for all events of one moment, such as hundreds of messages after a long absence.
export function soon(draw) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    queueMicrotask(() => {
      due = false;
      draw();
    });
  };
}

// --- Names ------------------------------------------------------------------------------------

// An application would show its users' names. This page knows only their ids: numbers or strings.
export const called = (id) => (typeof id === "number" ? `User ${id}` : String(id));

export const others = (room, me) => [...room.members.values()].filter(({ user_id }) => user_id !== me);

export function nameOf(room, me) {
  if (room.name) return room.name;
  return others(room, me).map(({ user_id: id }) => called(id)).join(", ") || "Only you";
}

const TONES = 10; // the number of tones in style.css

// Returns the tone of a user or a room, always the same one.
export function toneOf(id) {
  if (typeof id === "number") return (((id - 1) % TONES) + TONES) % TONES + 1;
  return ([...String(id)].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 8_191, 0) % TONES) + 1;
}

export function showAvatar(element, id, letter) {
  element.classList.remove("pair");
  element.dataset.tone = toneOf(id);
  if (element.firstElementChild) element.replaceChildren();
  setText(element, letter ?? [...String(id)][0].toUpperCase());
}

// A direct room has the other user's avatar. A group has those of two members, one over the other.
export function showRoomAvatar(element, room, me) {
  const ids = others(room, me).map(({ user_id }) => user_id);
  if (room.kind === "direct" && ids.length > 0) return showAvatar(element, ids[0]);
  if (ids.length > 1) return showPair(element, ids.slice(0, 2));
  showAvatar(element, `room ${room.id}`, [...nameOf(room, me)][0].toUpperCase());
}

function showPair(element, ids) {
  delete element.dataset.tone;
  element.classList.add("pair");
  if (element.children.length !== ids.length) {
    element.replaceChildren(...ids.map(() => Object.assign(document.createElement("span"), { className: "avatar" })));
  }
  ids.forEach((id, index) => showAvatar(element.children[index], id));
}

// --- Times ------------------------------------------------------------------------------------

// Created once, because creating a format is slow.
const TIME = new Intl.DateTimeFormat([], { hour: "numeric", minute: "2-digit" });
const MOMENT = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "medium" });

export const timeOf = (date) => TIME.format(date);
export const momentOf = (date) => MOMENT.format(date);

export function dayOf(date) {
  const [today, yesterday] = [new Date(), new Date()];
  yesterday.setDate(today.getDate() - 1);
  if (date.toDateString() === today.toDateString()) return "Today";
  if (date.toDateString() === yesterday.toDateString()) return "Yesterday";
  return date.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long", year: "numeric" });
}

// When a user who is offline was last online, as far as the server says.
export function lastSeen(time) {
  if (!time) return "offline";
  const seen = new Date(time);
  const today = seen.toDateString() === new Date().toDateString();
  return `last seen ${today ? `at ${timeOf(seen)}` : shortly(seen)}`;
}

// A short form for the list: the time today, else the day.
export function shortly(date) {
  if (date.toDateString() === new Date().toDateString()) return timeOf(date);
  return date.toLocaleDateString([], { day: "numeric", month: "short" });
}
