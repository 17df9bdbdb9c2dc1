// The messages that the server has confirmed: their bubbles, days, ticks and buttons, and the scrolling.
//
// It promises that text is shown as text, whatever people type, that a status never goes back, that the log
// follows its end for who is there and stays put for who isn't, and that it never grows past MAX_MESSAGES.
// It leaves to chat.js what an event means and what a button sends, and to outbox.js what isn't confirmed yet.

import { $, clone } from "./dom.js";
import { called, isOwn, session } from "./session.js";

const MAX_MESSAGES = 500;      // bubbles kept in the page
const GROUP_WITHIN = 5 * 60e3; // ms between two messages that look like one turn
const AT_THE_END = 40;         // px from the end of the log that still count as there
const LOUD_AFTER = 500;        // ms after the history from which new messages are read out
const TICKS = { send: "Sent", delivered: "Delivered", read: "Read" };
const STATUSES = Object.keys(TICKS); // in their order

const scroller = $("scroller");
const rows = new Map(); // message_id -> {message, element}, oldest first

export let newest = 0; // the highest message id seen
let on;
let stick = true; // the log follows its end
let unseen = 0;   // messages that came below the fold, or while the tab was hidden

// Whom to tell, each a function: edit(id) and delete(id), by its buttons; gone(id), just before a message goes.
export function listen(callbacks) {
  on = callbacks;
}

export const get = (id) => rows.get(id);
export const lastOwn = () => [...rows.values()].reverse().find(({ message }) => isOwn(message));

// --- What the server says ---------------------------------------------------------------------

// The history is all that is sure: older messages may have been edited or deleted while we were away, so
// bubbles that aren't in it go.
export function replace(history) {
  const listed = new Set(history.map((message) => message.message_id));
  for (const id of [...rows.keys()]) if (!listed.has(id)) remove(id);
  for (const message of [...history].reverse()) show(message);
  newest = history[0]?.message_id ?? 0;
  setTimeout(() => $("log").setAttribute("aria-live", "polite"), LOUD_AFTER);
}

export function add(message) {
  newest = Math.max(newest, message.message_id);
  show(message);
}

// These three may be told of messages older than what this page holds.
export function edit(id, text) {
  const row = rows.get(id);
  if (!row) return;
  Object.assign(row.message, { text, edited: true });
  fill(row);
}

export function mark({ message_id: id, status }) {
  const row = rows.get(id);
  if (!row || STATUSES.indexOf(status) < STATUSES.indexOf(row.message.status)) return;
  row.message.status = status;
  fill(row);
}

export function remove(id) {
  const { element } = rows.get(id) ?? {};
  if (!element) return;
  on.gone(id);
  if (element.contains(document.activeElement)) $("composer").focus();
  const after = rows.get(Number(element.nextElementSibling?.dataset.id));
  element.remove();
  rows.delete(id);
  if (after) arrange(after);
}

// For another room.
export function clear() {
  for (const id of [...rows.keys()]) remove(id);
  newest = 0;
}

// --- Bubbles ----------------------------------------------------------------------------------

function show(message) {
  const known = rows.get(message.message_id);
  if (known) return fill(Object.assign(known, { message }));
  const row = { message, element: clone("message-template") };
  prepare(row);
  fill(row);
  rows.set(message.message_id, row);
  $("messages").append(row.element);
  if (arrange(row)) rows.forEach(arrange); // a new day: "Today" has become "Yesterday"
  if (rows.size > MAX_MESSAGES) remove(rows.keys().next().value);
  if (newest && !isOwn(message)) unseen++; // the first history isn't news
  showUnseen();
  if (stick) toEnd();
}

// What never changes in a message.
function prepare({ message, element }) {
  const own = isOwn(message);
  const created = new Date(message.created_at);
  element.dataset.id = message.message_id;
  element.classList.add(own ? "own" : "theirs");
  element.querySelector(".author").textContent = own ? "You: " : `${called(message.sender_id)}: `;
  Object.assign(element.querySelector("time"), {
    dateTime: message.created_at,
    title: created.toLocaleString(),
    textContent: created.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }),
  });
  if (!own) for (const part of element.querySelectorAll(".actions, .status")) part.remove();
}

// What may change. By textContent: what people type is never markup.
function fill({ message, element }) {
  const text = element.querySelector(".text");
  if (text.textContent !== message.text) text.textContent = message.text;
  element.dataset.status = message.status;
  element.querySelector(".status")?.setAttribute("aria-label", TICKS[message.status]);
  // An edit changes updated_at, a status doesn't.
  element.querySelector(".edited").hidden = !message.edited && message.updated_at === message.created_at;
}

// How a message stands to the one before it: a new day, a new turn. True for a new day.
function arrange({ message, element }) {
  const before = rows.get(Number(element.previousElementSibling?.dataset.id))?.message;
  const [now, then] = [new Date(message.created_at), new Date(before?.created_at ?? 0)];
  const newDay = now.toDateString() !== then.toDateString();
  const day = element.querySelector(".day");
  day.hidden = !newDay;
  day.textContent = newDay ? dayName(now) : "";
  const sameTurn = before && !newDay && isOwn(before) === isOwn(message) && now - then < GROUP_WITHIN;
  element.classList.toggle("first", !sameTurn);
  return newDay;
}

function dayName(date) {
  const [today, yesterday] = [new Date(), new Date()];
  yesterday.setDate(today.getDate() - 1);
  if (date.toDateString() === today.toDateString()) return "Today";
  if (date.toDateString() === yesterday.toDateString()) return "Yesterday";
  return date.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long", year: "numeric" });
}

// --- Buttons: deleting can't be undone, so it takes two ---------------------------------------

const actions = {
  edit: (id) => on.edit(id),
  delete(id, element) {
    confirming()?.classList.remove("confirming");
    element.classList.add("confirming");
    element.querySelector("[data-action=keep]").focus();
  },
  "confirm-delete": (id) => on.delete(id),
  keep,
};

const confirming = () => document.querySelector(".confirming");

// Takes back the first of the two; false where there was none.
export function keep() {
  const element = confirming();
  element?.classList.remove("confirming");
  element?.querySelector("[data-action=delete]").focus();
  return Boolean(element);
}

$("messages").addEventListener("click", (event) => {
  const action = event.target.closest("[data-action]")?.dataset.action;
  const element = event.target.closest(".message");
  if (!action || event.detail > 1) return; // the second half of a double click confirms nothing
  actions[action](Number(element.dataset.id), element);
});

// --- Scrolling: only who is at the end of the log is taken along when it grows ----------------

export function toEnd() {
  stick = true;
  scroller.scrollTop = scroller.scrollHeight;
}

export function showUnseen() {
  if (stick && !document.hidden) unseen = 0;
  $("new-messages").hidden = stick || unseen === 0;
  $("new-messages").textContent = unseen === 1 ? "1 new message ↓" : `${unseen} new messages ↓`;
  document.title = `${unseen ? `(${unseen}) ` : ""}${called(session.user_id)} · Parlor`;
}

scroller.addEventListener("scroll", () => {
  stick = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < AT_THE_END;
  showUnseen();
});
document.addEventListener("visibilitychange", () => session && showUnseen());
const follow = new ResizeObserver(() => stick && toEnd());
follow.observe(scroller);
follow.observe($("content"));
$("new-messages").addEventListener("click", () => { toEnd(); $("composer").focus(); });
