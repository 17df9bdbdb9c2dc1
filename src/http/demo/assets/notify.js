// Desktop notifications while the page is hidden. The browser asks for permission only after a click on the button. There
// is no button if the browser has no notifications, or if the user has refused them.

import { $, called, nameOf } from "./dom.js";

const can = () => "Notification" in window;

function showButton() {
  $("notify").hidden = !can() || Notification.permission !== "default";
}

$("notify").addEventListener("click", async () => {
  await Notification.requestPermission();
  showButton();
});

// Notifies the user of another user's message. A click on the notification calls `open`.
export function notify(room, { sender_id: author, text }, me, open) {
  if (!document.hidden || !can() || Notification.permission !== "granted") return;
  const body = room.kind === "group" ? `${called(author)}: ${text}` : text;
  try {
    // One for each room: a later message replaces the one before. The body is text, never markup.
    const notification = new Notification(nameOf(room, me), { body, tag: String(room.id) });
    notification.onclick = () => {
      window.focus();
      notification.close();
      open();
    };
  } catch {
    // Phones allow notifications only from service workers, and throw here.
  }
}

showButton();
