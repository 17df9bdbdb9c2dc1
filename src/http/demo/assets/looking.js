// Which room is looked at, and whether anyone looks at all: what comes while nobody does isn't read.

let chat;
let room;

export function at(itsChat, itsRoom) {
  if (room && room !== itsRoom) chat.closeRoom(room.id);
  [chat, room] = [itsChat, itsRoom];
  if (room && !document.hidden) chat.open(room.id);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    if (room) chat.closeRoom(room.id);
    return;
  }
  if (room) chat.open(room.id);
  wake();
});

// There is no use in waiting any longer; a laptop that slept has a connection that looks alive and is dead, and what is
// being tried may have begun without a network.
function wake() {
  if (["open", "waiting", "connecting"].includes(chat?.connection.state)) chat.connect();
}
addEventListener("online", wake);

// Whoever goes on to another page is gone, also where the browser keeps this one for coming back.
addEventListener("pagehide", () => chat?.close());
addEventListener("pageshow", ({ persisted }) => persisted && chat?.connect());
