// The head of the open room: its name, who is online, and who is typing.

import { $, called, lastSeen, nameOf, others, setText, showRoomAvatar } from "./dom.js";
import { session } from "./session.js";

const TYPES_FOR = 5e3; // ms; the server sends `typing` at most once in 3 s, and has no event for its end

const typists = new Map(); // user id -> timer
let me;
let room;

export function show(itsMe, itsRoom) {
  [me, room] = [itsMe, itsRoom];
  $("room").dataset.kind = room.kind;
  for (const id of [...typists.keys()]) stopped(id);
  showOtherSide();
  draw();
}

// For trying out alone: a link that opens the same room as the other user, in a tab of its own.
function showOtherSide() {
  const other = others(room, me)[0]?.user_id;
  $("other-side").hidden = session.pasted === true || room.kind !== "direct" || typeof other !== "number";
  $("other-side").href = `#${other}/${room.id}`;
  setText($("other-side").lastElementChild, `Open as ${called(other)}`);
}

export function draw() {
  if (!room) return;
  setText($("room-name"), nameOf(room, me));
  showRoomAvatar($("room-avatar"), room, me);
  setText($("presence"), presence());
  $("presence").dataset.online = others(room, me).some(({ online }) => online);
}

function presence() {
  const there = others(room, me);
  if (room.kind === "group") {
    const online = there.filter((member) => member.online).length;
    return `${room.members.size} members, ${online === 0 ? "only you" : `you and ${online}`} online`;
  }
  const other = there[0];
  if (!other || other.online) return other ? "online" : "";
  return lastSeen(other.last_seen);
}

export function typing(userId) {
  clearTimeout(typists.get(userId));
  typists.set(userId, setTimeout(() => stopped(userId), TYPES_FOR));
  drawTyping();
}

// A user who has sent a message is no longer typing.
export function stopped(userId) {
  clearTimeout(typists.get(userId));
  if (typists.delete(userId)) drawTyping();
}

function drawTyping() {
  const names = [...typists.keys()].map(called);
  setText($("typing"), names.length === 0 ? "" : `${names.join(", ")} ${names.length === 1 ? "is" : "are"} typing…`);
}
