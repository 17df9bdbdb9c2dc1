// What was typed and isn't confirmed yet, one bubble each below the log. The library's outbox keeps and sends it; what
// it gave up stays here until it is sent anew, or thrown away.

import { $, clone, setText } from "./dom.js";

const failed = []; // what the outbox gave up, of all rooms
const elements = new Map(); // Outgoing -> element: those in the page

let chat;
let room;

export function show(itsChat, itsRoom) {
  [chat, room] = [itsChat, itsRoom];
  draw();
}

// One has come further, or won't.
export function changed(outgoing) {
  if (outgoing.state === "failed") failed.push(outgoing);
  if (outgoing.roomId === room?.id) draw();
}

// What was given up, for good.
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
