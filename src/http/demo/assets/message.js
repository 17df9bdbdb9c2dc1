// One message in the log: its bubble, ticks and buttons, and what depends on the message before.
//
// Text is always shown as text and never becomes markup.

import { called, clone, dayOf, momentOf, setText, timeOf, toneOf } from "./dom.js";
import { linked } from "./links.js";

const ONE_TURN = 5 * 60e3; // ms between two messages that look like one turn
const EMOJI_ALONE = emojiAlone(); // shown large
const TICKS = { send: "Sent", delivered: "Delivered", read: "Read" };

// A browser without the flag `v` shows all emoji small. A literal with an unknown flag would keep this file from loading.
function emojiAlone() {
  try {
    return new RegExp("^(?:\\p{RGI_Emoji}\\s*){1,3}$", "v");
  } catch {
    return /^$/;
  }
}

// {message, element}
export function make(message, me) {
  const row = { element: clone("message-template") };
  const own = message.sender_id === me;
  row.element.dataset.id = message.message_id;
  row.element.classList.add(own ? "own" : "theirs");
  const created = new Date(message.created_at);
  Object.assign(row.element.querySelector("time"), {
    dateTime: message.created_at,
    title: momentOf(created),
    textContent: timeOf(created),
  });
  const author = row.element.querySelector(".author");
  setText(author, own ? "You" : called(message.sender_id));
  author.dataset.tone = toneOf(message.sender_id);
  if (!own) for (const part of row.element.querySelectorAll("[data-action=edit], .status")) part.remove();
  fill(row, message);
  return row;
}

// Shows what may change. links.js makes text and links by DOM nodes: text never becomes markup.
export function fill(row, message) {
  if (row.message === message) return;
  const { element } = row;
  const text = element.querySelector(".text");
  // An edit changes updated_at, a status doesn't; but an edit's event has only the new text.
  row.edited ||= message.updated_at !== message.created_at || (row.message && row.message.text !== message.text);
  row.message = message;
  if (text.textContent !== message.text) text.replaceChildren(linked(message.text));
  element.classList.toggle("emoji", EMOJI_ALONE.test(message.text));
  element.dataset.status = message.status;
  element.querySelector(".status")?.setAttribute("aria-label", TICKS[message.status]);
  element.querySelector(".edited").hidden = !row.edited;
}

// Shows what depends on the message before: a new day, a new turn, and the line above the first unread message.
// `unread` is the number of unread messages that begin here, or 0.
export function arrange({ message, element }, before, unread) {
  const [now, then] = [new Date(message.created_at), new Date(before?.created_at ?? 0)];
  const newDay = now.toDateString() !== then.toDateString();
  const day = element.querySelector(".day");
  day.hidden = !newDay;
  setText(day, newDay ? dayOf(now) : "");
  const divider = element.querySelector(".divider");
  divider.hidden = unread === 0;
  setText(divider, unread === 0 ? "" : unread === 1 ? "1 unread message" : `${unread} unread messages`);
  const sameTurn = before && !newDay && unread === 0 && before.sender_id === message.sender_id && now - then < ONE_TURN;
  element.classList.toggle("first", !sameTurn);
}

// Shows which member has read which message. `messages` are the user's own ones in the page, oldest first. A member's
// name stands below the last message that the member has read. The tooltip of the ticks names all members.
export function showReaders(messages, rows, readers) {
  const below = new Map(); // message id -> names
  for (const { user_id: id, read } of readers) {
    const last = messages.findLast(({ message_id }) => message_id <= read);
    if (last) below.set(last.message_id, [...(below.get(last.message_id) ?? []), called(id)]);
  }
  for (const { message_id: id } of messages) {
    const { element } = rows.get(id);
    const line = element.querySelector(".readers");
    const names = below.get(id);
    line.hidden = !names;
    setText(line, names ? `Read by ${names.join(", ")}` : "");
    const title = told(id, readers);
    const status = element.querySelector(".status");
    if (status.title !== title) status.title = title;
  }
}

function told(id, readers) {
  const names = (members) => members.map(({ user_id }) => called(user_id)).join(", ");
  const read = readers.filter((member) => member.read >= id);
  const delivered = readers.filter((member) => member.read < id && member.delivered >= id);
  const parts = [read.length && `Read by ${names(read)}`, delivered.length && `Delivered to ${names(delivered)}`];
  return parts.filter(Boolean).join("\n") || "Sent";
}
