// The panel of a group's members: their names, their roles, and who is online. A dialog of the browser's own, which keeps
// the focus inside, closes at Escape, and then gives the focus back to the button that opened it.

import { $, called, clone, lastSeen, setText, showAvatar } from "./dom.js";

const dialog = $("members");
const elements = new Map(); // user id -> element

let chat;
let room;

// For another room, or none.
export function show(itsChat, itsRoom) {
  if (room !== itsRoom) dialog.close();
  [chat, room] = [itsChat, itsRoom];
  $("show-members").hidden = room?.kind !== "group";
}

// To call after a change of the room or of the connection.
export function draw() {
  if (!dialog.open || !room) return;
  const members = [...room.members.values()].sort(inOrder);
  setText($("members-title"), members.length === 1 ? "1 member" : `${members.length} members`);
  for (const id of [...elements.keys()]) if (!room.members.has(id)) elements.delete(id);
  $("member-list").replaceChildren(...members.map(elementFor));
}

// The user, then who is online, then the others.
function inOrder(a, b) {
  const rank = ({ user_id: id, online }) => (id === chat.userId ? 0 : online ? 1 : 2);
  return rank(a) - rank(b) || called(a.user_id).localeCompare(called(b.user_id), [], { numeric: true });
}

function elementFor(member) {
  const { user_id: id, role } = member;
  const element = elements.get(id) ?? clone("member-template");
  elements.set(id, element);
  const part = (name) => element.querySelector(`.${name}`);
  showAvatar(part("avatar"), id);
  setText(part("name"), id === chat.userId ? `${called(id)} (you)` : called(id));
  setText(part("role"), role);
  setText(part("where"), presenceOf(member));
  element.dataset.online = isKnown() && member.online;
  return element;
}

// Without a connection nobody's presence is known.
const isKnown = () => chat.connection.state === "open";

function presenceOf({ online, last_seen: seen }) {
  if (!isKnown()) return "";
  return online ? "online" : lastSeen(seen);
}

$("show-members").addEventListener("click", () => {
  elements.clear();
  dialog.showModal();
  draw();
});
$("members-close").addEventListener("click", () => dialog.close());
// A click beside the panel closes it: only there the dialog itself is the target.
dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
