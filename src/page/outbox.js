// What was typed and isn't confirmed yet, one bubble each below the log.
//
// Level 1 has no id of the client's own, and an error says "send" but not which. So there is a queue with one
// message under way, and only that one can be in doubt when a socket closes. Its `chat_message` is its
// acknowledgement: the server has it safe by then.
//
// It promises that nothing is lost without a word, and that nothing is sent twice without a click. It leaves
// to connection.js when there is a socket, and to log.js the messages that are confirmed.

import * as connection from "./connection.js";
import { $, clone } from "./dom.js";
import * as log from "./log.js";

// After these errors a message may still turn out to have been written.
const DOUBTFUL = ["timeout", "unavailable", "internal"];

let pauseUntil = 0; // no sending before: rate_limited
const pending = []; // {text, state, element, doubtful}, oldest first; state: queued|sending|unsure|failed

const underWay = () => pending.find(({ state }) => state === "sending");

export function add(text) {
  const item = { text, element: clone("pending-template") };
  item.element.querySelector(".text").textContent = text;
  item.element.querySelector("[data-action=retry]").onclick = () => { discard(item); add(text); };
  item.element.querySelector("[data-action=discard]").onclick = () => { discard(item); $("composer").focus(); };
  pending.push(item);
  $("pending").append(item.element);
  setState(item, "queued", connection.isOpen() ? "" : "Will be sent once connected");
  log.toEnd();
  pump();
}

// The server sends our own message back, text and all.
export function confirm({ text }) {
  const sent = pending.find((item) => item.state === "sending" && item.text === text);
  if (sent) connection.answered();
  const item = sent ?? pending.find((late) => late.state === "failed" && late.doubtful && late.text === text);
  if (item) discard(item);
  pump();
}

// One send is under way at a time, so that is the one which an error answers.
export function refuse({ code, message, action, retry_after_ms: wait = 0 }) {
  pauseUntil = Math.max(pauseUntil, Date.now() + wait);
  const item = underWay();
  if (!item || (action !== "send" && code !== "bad_json")) return; // an edit or a delete
  connection.answered();
  item.doubtful = DOUBTFUL.includes(code);
  setState(item, "failed", message);
  pump();
}

export function lost() {
  const item = underWay();
  if (item) setState(item, "unsure", "Connection lost before it was confirmed");
}

// There is a socket again. What was under way on the last one is among `fresh`, the own messages that are new
// since, or is in doubt. It is never sent again by itself: it could arrive twice.
export function resume(fresh) {
  const item = pending.find(({ state }) => state === "unsure");
  if (item && fresh.some(({ text }) => text === item.text)) {
    discard(item);
  } else if (item) {
    item.doubtful = true;
    setState(item, "failed", "Not confirmed: it may not have been sent");
  }
  pump();
}

export function clear() {
  for (const item of [...pending]) discard(item);
}

function pump() {
  const next = pending.find(({ state }) => state === "queued");
  if (!next || !connection.isOpen() || underWay()) return;
  const pause = pauseUntil - Date.now();
  if (pause > 0) return setTimeout(pump, pause);
  setState(next, "sending", "");
  connection.send({ action: "send", message: next.text });
  connection.expectAnswer();
}

function setState(item, state, reason) {
  item.state = item.element.dataset.status = state;
  item.element.querySelector(".reason").textContent = reason;
}

function discard(item) {
  pending.splice(pending.indexOf(item), 1);
  item.element.remove();
}
