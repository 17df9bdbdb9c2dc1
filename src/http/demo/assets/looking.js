// Tells the library which room is in view. While the page is hidden, no room is, and new messages stay unread.

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

// Connects now instead of later. After a laptop's sleep, an open connection may be dead, and a try may have begun without
// a network.
function wake() {
  if (["open", "waiting", "connecting"].includes(chat?.connection.state)) chat.connect();
}
addEventListener("online", wake);

// A user who goes to another page is offline, even if the browser keeps this page for the way back.
addEventListener("pagehide", () => chat?.close());
addEventListener("pageshow", ({ persisted }) => persisted && chat?.connect());
