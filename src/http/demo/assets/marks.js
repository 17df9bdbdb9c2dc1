// Who in a group has read what. The events of a room tell what all of its members have read; how far each one has come
// stands in lists of rooms. So it is asked for: where someone in the group is active, or somebody wants to know.

const EVERY = 3e3; // ms between two questions

let asked = 0;
let timer;

export function ask(chat, room) {
  if (room?.kind !== "group" || timer) return;
  timer = setTimeout(() => {
    timer = undefined;
    asked = Date.now();
    chat.refreshMarks().catch(() => {}); // it is asked for again soon enough
  }, Math.max(0, asked + EVERY - Date.now()));
}
