// The elements of index.html, by the names they have there, and the words that several parts have in common.

export const $ = (id) => document.getElementById(id);

// A new element from a <template>.
export const clone = (template) => $(template).content.firstElementChild.cloneNode(true);

// Writes to the page only where something changes: a screen reader, and the layout, are spared the rest.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Draws once for all that happens in one go, such as the hundreds of messages of a long absence.
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

// An application would show its users' names. What there is to go by here is an id: a number or a string.
export const called = (id) => (typeof id === "number" ? `User ${id}` : String(id));

export const others = (room, me) => [...room.members.values()].filter(({ user_id }) => user_id !== me);

export function nameOf(room, me) {
  if (room.name) return room.name;
  return others(room, me).map(({ user_id: id }) => called(id)).join(", ") || "Only you";
}

export function showAvatar(element, id, letter) {
  const text = String(id);
  // Always the same tone for the same one, of the eight that style.css has.
  const sum = [...text].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 8_191, 0);
  element.dataset.tone = typeof id === "number" ? ((id - 1) % 8) + 1 : (sum % 8) + 1;
  setText(element, letter ?? [...text][0].toUpperCase());
}

export function showRoomAvatar(element, room, me) {
  const other = others(room, me)[0];
  if (room.kind === "direct" && other) return showAvatar(element, other.user_id);
  const name = nameOf(room, me);
  showAvatar(element, `room ${room.id}`, [...name][0].toUpperCase());
}

// --- Times ------------------------------------------------------------------------------------

// Made once: making one takes longer than all that it does for a message.
const TIME = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
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

// As short as a list has room for.
export function shortly(date) {
  if (date.toDateString() === new Date().toDateString()) return timeOf(date);
  return date.toLocaleDateString([], { day: "numeric", month: "short" });
}
