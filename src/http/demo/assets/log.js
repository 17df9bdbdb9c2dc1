// The messages of the open room: which of them are in the page, and the scrolling.
//
// The library knows a part of the room without a gap, and a part of that is in the page:
//   - The page never holds more than MOST messages, however long the room is.
//   - At its end, the log follows new messages. Elsewhere it stays where it is, whatever comes above or below.
//   - Each message is there once and in order: the log is always drawn from the library's list.

import { $, setText, soon } from "./dom.js";
import * as keyboard from "./keyboard.js";
import { arrange, fill, make, showReaders } from "./message.js";

const MOST = 200;         // messages in the page ...
const PAGE = 50;          // ... and how many of them come or go at a time
const NEAR = 600;         // px from the upper or lower end at which more messages are loaded
const AT_THE_END = 40;    // px from the end that still count as the end
const AGAIN = 5e3;        // ms until a failed request for history is repeated
const UNREAD_PAGE = 200;  // messages that are asked for at a time, to reach the first unread one, ...
const UNREAD_PAGES = 5;   // ... and how often at most
const CONTEXT = 10;       // messages in the page before the first unread one
const LOUD_AFTER = 500;   // ms after which new messages are read out

const scroller = $("scroller");
const list = $("messages");
const rows = new Map(); // message_id -> {message, element}, of the messages in the page

let on;
let chat;
let room;
let from = 0;          // the first message to show, and ...
let to = Infinity;     // ... the last one; Infinity: the room's end
let stick = true;      // the log follows its end
let top = 0;           // scrollTop when `stick` was last set
let seen = 0;          // others' messages after this one count as new
let loading = false;
let unread;            // {after, count}: the unread messages when the room was opened; undefined if there were none
let stale = false;     // the library loads the room again; the page keeps its messages until the history is there

// The callbacks, each a function: gone(id), when a message was deleted; trouble(error).
export function listen(callbacks) {
  on = callbacks;
}

// Whether the library has no history of the room yet after a plain start.
export const isStale = () => stale;

export const lastOwn = () => room.messages.findLast(({ sender_id: id }) => id === chat.userId);

// Shows another room, or none.
export function show(itsChat, itsRoom) {
  [chat, room] = [itsChat, itsRoom];
  [from, to, stick, top, loading, stale] = [0, Infinity, true, 0, false, false];
  rows.clear();
  list.replaceChildren();
  $("log").setAttribute("aria-live", "off");
  keyboard.update();
  unread = room?.unread > 0 ? { after: room.read, count: room.unread } : undefined;
  if (!room) return;
  from = room.messages.at(-PAGE)?.message_id ?? 0;
  seen = room.lastMessage?.message_id ?? 0;
  update();
  if (unread) startAtUnread();
  else readOutSoon();
}

function readOutSoon() {
  setTimeout(() => $("log").setAttribute("aria-live", "polite"), LOUD_AFTER);
}

// To call after a change of the room.
export const update = soon(() => {
  if (!room || stale) return;
  keepPlace(draw);
  showUnseen();
  more();
});

// To call after a plain start: the library then knows only the room's last message, and the rest may have changed.
export async function restart() {
  if (!room) return;
  const asked = room;
  stale = true;
  try {
    if (room.from > 1) await chat.history(room.id, { before: room.from, limit: Math.min(MOST, Math.max(PAGE, rows.size)) });
  } catch (error) {
    // After a lost connection, the next one calls this again.
    if (room === asked && error.code !== "disconnected") setTimeout(() => room === asked && stale && restart(), AGAIN);
    return;
  }
  if (room !== asked) return;
  stale = loading = false;
  if (room.from > from || to < room.from) [from, to] = [room.messages.at(-MOST)?.message_id ?? 0, Infinity];
  update();
}

// --- What is in the page ------------------------------------------------------------------------

function shown() {
  const { messages } = room;
  // After very many new messages the library no longer knows the shown ones.
  if (to < room.from) toNewest();
  let end = to === Infinity ? messages.length : indexOf(to + 1);
  let start = Math.min(indexOf(from), end);
  if (end - start > MOST) {
    // Drops messages at the end that is far from the view.
    if (stick) start = end - MOST;
    else end = start + MOST;
    setRange(start, end);
  }
  return messages.slice(start, end);
}

function toNewest() {
  stick = true;
  setRange(Math.max(0, room.messages.length - PAGE), room.messages.length);
}

function setRange(start, end) {
  const { messages } = room;
  from = messages[start]?.message_id ?? 0;
  to = end >= messages.length ? Infinity : messages[end - 1].message_id;
}

// Returns the index of a message in the room's list, or where it would be.
function indexOf(id) {
  let [low, high] = [0, room.messages.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (room.messages[middle].message_id < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

function draw() {
  const messages = shown();
  const firstUnread = messageAtDivider()?.message_id;
  const wanted = new Set(messages.map(({ message_id: id }) => id));
  for (const id of [...rows.keys()]) if (!wanted.has(id)) remove(id);
  messages.forEach((message, index) => {
    const row = rows.get(message.message_id) ?? make(message, chat.userId);
    rows.set(message.message_id, row);
    fill(row, message);
    const there = list.children[index];
    if (there !== row.element) list.insertBefore(row.element, there ?? null);
    arrange(row, messages[index - 1], message.message_id === firstUnread ? unread.count : 0);
    row.element.classList.toggle("deletable", mayDelete(message));
  });
  const others = [...room.members.values()].filter(({ user_id: id }) => id !== chat.userId);
  showReaders(messages.filter(({ sender_id: id }) => id === chat.userId), rows, others);
  keyboard.update();
}

// A message's author may delete it, and in a group its admins.
function mayDelete({ sender_id: author }) {
  return author === chat.userId || (room.kind === "group" && room.members.get(chat.userId)?.role === "admin");
}

function remove(id) {
  const { element } = rows.get(id);
  // A message before the first known one may still exist.
  if (id >= room.from && !room.message(id)) on.gone(id);
  if (element.contains(document.activeElement)) $("composer").focus();
  element.remove();
  rows.delete(id);
}

// --- Unread messages ----------------------------------------------------------------------------

// The first unread message, once all messages from there on are known.
function messageAtDivider() {
  if (!unread || room.from > unread.after + 1) return undefined;
  return room.messages.find(({ message_id: id, sender_id: author }) => id > unread.after && author !== chat.userId);
}

// Loads the unread messages, and scrolls so that the first one is on top. Stays at the end if there are too many.
async function startAtUnread() {
  const asked = room;
  loading = true;
  try {
    for (let page = 0; page < UNREAD_PAGES && room.from > unread.after + 1; page++) {
      await chat.history(asked.id, { before: asked.from, limit: UNREAD_PAGE });
      if (room !== asked) return;
    }
  } catch (error) {
    if (room === asked && error.code !== "disconnected") on.trouble(error);
  }
  if (room !== asked) return;
  readOutSoon();
  if (stale) return;
  loading = false;
  const first = messageAtDivider();
  if (first) startAt(first);
  update();
}

function startAt({ message_id: id }) {
  const start = Math.max(0, indexOf(id) - CONTEXT);
  setRange(start, Math.min(room.messages.length, start + MOST));
  [stick, seen] = [false, id - 1];
  draw();
  const { element } = rows.get(id);
  scroller.scrollTop += element.getBoundingClientRect().top - scroller.getBoundingClientRect().top;
  top = scroller.scrollTop;
  stick = to === Infinity && leftBelow() < AT_THE_END;
}

// --- Older and newer ones -----------------------------------------------------------------------

function more() {
  if (scroller.scrollTop < NEAR) older();
  else if (to !== Infinity && leftBelow() < NEAR) newer();
}

async function older() {
  if (loading) return;
  const asked = room;
  if (indexOf(from) === 0) {
    if (room.from <= 1) return showOlder("");
    loading = true;
    showOlder("Loading…");
    try {
      await chat.history(room.id, { before: room.from, limit: PAGE });
    } catch (error) {
      if (room === asked && error.code !== "disconnected") on.trouble(error);
      return;
    } finally {
      if (room === asked) loading = false;
    }
    if (room !== asked || stale) return;
  }
  const first = indexOf(from);
  const start = Math.max(0, first - PAGE);
  const end = to === Infinity ? room.messages.length : indexOf(to + 1);
  setRange(start, Math.min(end, start + MOST));
  if (to !== Infinity) stick = false;
  keepPlace(draw);
  showOlder("");
  more();
}

function newer() {
  const end = Math.min(room.messages.length, indexOf(to + 1) + PAGE);
  setRange(Math.max(indexOf(from), end - MOST), end);
  keepPlace(draw);
}

function showOlder(text) {
  $("older").hidden = text === "";
  setText($("older"), text);
}

// --- Scrolling ----------------------------------------------------------------------------------

const leftBelow = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;

// Keeps the first visible message in its place during a change. Browsers do not do so at the very top, and some never do.
function keepPlace(change) {
  const { top } = scroller.getBoundingClientRect();
  const place = (element) => element.getBoundingClientRect();
  const anchor = [...list.children].find((element) => place(element).bottom > top);
  const before = anchor && place(anchor).top;
  change();
  if (stick) toEnd();
  else if (anchor?.isConnected) scroller.scrollTop += place(anchor).top - before;
}

export function toEnd() {
  stick = true;
  if (room && to !== Infinity) {
    toNewest();
    draw();
  }
  scroller.scrollTop = scroller.scrollHeight;
  top = scroller.scrollTop;
}

export function showUnseen() {
  if (!room) return;
  if (stick && !document.hidden) seen = Math.max(seen, room.lastMessage?.message_id ?? 0);
  const news = room.messages.slice(indexOf(seen + 1)).filter(({ sender_id: id }) => id !== chat.userId).length;
  const button = $("new-messages");
  button.hidden = stick;
  button.classList.toggle("icon-only", news === 0);
  setText(button.firstElementChild, news === 0 ? "To the newest message" : news === 1 ? "1 new message" : `${news} new messages`);
}

scroller.addEventListener("scroll", () => {
  if (!room || stale) return;
  // Only scrolling up leaves the end. When this event comes, the log may already be longer or its window smaller.
  const up = scroller.scrollTop < top - 1;
  top = up ? scroller.scrollTop : Math.max(top, scroller.scrollTop);
  stick = to === Infinity && (leftBelow() < AT_THE_END || (stick && !up));
  showUnseen();
  more();
});
const follow = new ResizeObserver(() => stick && toEnd());
follow.observe(scroller);
follow.observe($("content"));
$("new-messages").addEventListener("click", () => { toEnd(); showUnseen(); $("composer").focus(); });
