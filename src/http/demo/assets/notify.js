// Desktop notifications, while nobody looks at the page. Whether they are wanted is asked for by a button and never
// unasked; where the browser has none, or the answer was no, there is no button.

import { $, called, nameOf } from "./dom.js";

const can = () => "Notification" in window;

function showButton() {
  $("notify").hidden = !can() || Notification.permission !== "default";
}

$("notify").addEventListener("click", async () => {
  await Notification.requestPermission();
  showButton();
});

// Of another's message. `open` is called where it is clicked on.
export function notify(room, { sender_id: author, text }, me, open) {
  if (!document.hidden || !can() || Notification.permission !== "granted") return;
  const body = room.kind === "group" ? `${called(author)}: ${text}` : text;
  try {
    // One for each room: a later message takes the place of the one before. Its text is text, never markup.
    const notification = new Notification(nameOf(room, me), { body, tag: String(room.id) });
    notification.onclick = () => {
      window.focus();
      notification.close();
      open();
    };
  } catch {
    // Phones have them for service workers only, and say so in this way.
  }
}

showButton();
