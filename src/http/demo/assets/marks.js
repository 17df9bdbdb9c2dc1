// Which member of a group has read which message. Events only say what all members have read; lists of rooms have each
// member's markers. So the page asks for them when a member is active, and when the user points at a message.

const EVERY = 3e3; // ms between two requests

let asked = 0;
let timer;

export function ask(chat, room) {
  if (room?.kind !== "group" || timer) return;
  timer = setTimeout(() => {
    timer = undefined;
    asked = Date.now();
    chat.refreshMarks().catch(() => {}); // the next event asks again
  }, Math.max(0, asked + EVERY - Date.now()));
}
