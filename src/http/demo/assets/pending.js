// Messages that the server has not acknowledged yet, below the log. The library's outbox keeps and sends them. A message
// that failed stays here until the user sends it again or discards it.

import { $, clone, setText } from "./dom.js";

const failed = []; // the messages that failed, of all rooms
const elements = new Map(); // Outgoing -> element: those in the page

let chat;
let room;

export function show(itsChat, itsRoom) {
  [chat, room] = [itsChat, itsRoom];
  draw();
}

// The state of a message has changed.
export function changed(outgoing) {
  if (outgoing.state === "failed") failed.push(outgoing);
  if (outgoing.roomId === room?.id) draw();
}

// Drops the messages that failed.
export function forget() {
  failed.length = 0;
}

export const has = () => elements.size > 0;

function draw() {
  const wanted = room ? [...failed.filter(({ roomId }) => roomId === room.id), ...chat.pending(room.id)] : [];
  for (const [outgoing, element] of elements) {
    if (wanted.includes(outgoing)) continue;
    element.remove();
    elements.delete(outgoing);
  }
  wanted.sort((a, b) => a.at - b.at).forEach((outgoing, index) => {
    const element = elements.get(outgoing) ?? make(outgoing);
    elements.set(outgoing, element);
    const there = $("pending").children[index];
    if (there !== element) $("pending").insertBefore(element, there ?? null);
    element.dataset.status = outgoing.state;
  });
  // Many messages that wait for the same thing need one line.
  const lastQueued = wanted.findLast(({ state }) => state === "queued");
  for (const [outgoing, element] of elements) setText(element.querySelector(".reason"), reason(outgoing, lastQueued));
}

function reason(outgoing, lastQueued) {
  if (outgoing.state === "failed") return outgoing.error.message;
  return outgoing === lastQueued && chat.connection.state !== "open" ? "Will be sent once connected" : "";
}

function make(outgoing) {
  const element = clone("pending-template");
  setText(element.querySelector(".text"), outgoing.text);
  element.querySelector("[data-action=retry]").onclick = () => {
    discard(outgoing);
    chat.send(outgoing.roomId, outgoing.text);
  };
  element.querySelector("[data-action=discard]").onclick = () => {
    discard(outgoing);
    $("composer").focus();
  };
  return element;
}

function discard(outgoing) {
  failed.splice(failed.indexOf(outgoing), 1);
  draw();
}
