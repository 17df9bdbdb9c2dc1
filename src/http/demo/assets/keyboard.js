// The messages by keyboard. The whole log is one tab stop, however many messages it has:
//   Up, Down, Home, End   move from message to message
//   Tab, Left, Right      move between a message and its links and buttons
//
// Exactly one message has tabindex 0, the active one. Links and buttons are tab stops only in the message that has the
// focus, so Tab passes the other messages.

import { $ } from "./dom.js";

const list = $("messages");

let on;
let active; // the message that Tab leads to

// The callback, a function: toEnd(), which shows the newest messages.
export function listen(callbacks) {
  on = callbacks;
}

// To call after each change of the log. Without the focus in the log, Tab leads to the newest message.
export function update() {
  if (active?.isConnected && active.contains(document.activeElement)) return;
  activate(list.lastElementChild);
}

function activate(message) {
  if (active === message) return;
  if (active) active.tabIndex = -1;
  active = message ?? undefined;
  if (active) active.tabIndex = 0;
}

const controls = (message) => [...message.querySelectorAll("a, button")];
const shown = (message) => controls(message).filter((element) => element.checkVisibility());

list.addEventListener("focusin", ({ target }) => {
  const message = target.closest(".message");
  activate(message);
  for (const element of controls(message)) element.tabIndex = 0;
});

list.addEventListener("focusout", ({ target, relatedTarget }) => {
  const message = target.closest(".message");
  if (message.contains(relatedTarget)) return;
  for (const element of controls(message)) element.tabIndex = -1;
});

list.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const next = nextFor(event.key, event.target);
  if (next === undefined) return;
  event.preventDefault(); // or the log would scroll, too
  next?.focus();
});

// Returns the element that a key leads to: null if there is none, undefined if the key has no meaning here.
function nextFor(key, target) {
  const message = target.closest(".message");
  switch (key) {
    case "ArrowUp": return message.previousElementSibling;
    case "ArrowDown": return message.nextElementSibling;
    case "Home": return list.firstElementChild;
    case "End":
      on.toEnd();
      return list.lastElementChild;
    case "ArrowRight": return beside(message, target, 1);
    case "ArrowLeft": return beside(message, target, -1);
    default: return undefined;
  }
}

// The message itself, then its links and buttons.
function beside(message, target, step) {
  const stops = [message, ...shown(message)];
  return stops[stops.indexOf(target) + step] ?? null;
}
