// A small messenger on Level 3 of the wire protocol: one socket for all of a user's rooms. It is here to try Parlor
// out, and to be read as an example of a client. Connecting, resuming, sending again and counting are the library's
// (clients/js, in parlor/); what is left is to show it.
//
// Start here: what the library tells and what it changes in the page, what people do and what is called for it. The
// rest is left to
//   start.js        who is to chat, and where the URL leads   session.js   the token that proves it
//   connection.js   how it stands with the connection
//   list.js         the rooms           newroom.js   making one
//   header.js       the open room: who is there, who types   members.js   the panel of its members
//   log.js          its messages        message.js, links.js, buttons.js   one of them, its links and buttons
//   keyboard.js     the messages by keyboard
//   pending.js      messages on their way
//   composer.js     the box people type in
//   notify.js       desktop notifications   notice.js   what went wrong
//   looking.js      whether anyone looks    marks.js    who in a group has read what
//
// Tests hold on to these; the rest of the markup may change:
//   #choose-1 #choose-2 #use-token     the chooser: nobody in the URL      #sign-in: #token #token-problem #enter
//   #state[data-state=open|connecting|waiting|closed]   #banner #why[data-code] #countdown #try-again
//   .room[data-room], in it .name .preview .unread .dot; aria-current   #add-room #people #new-room-name #new-room-make
//   #room-name #presence #typing #back #other-side   #no-rooms #first-room
//   #show-members #members[open] #members-close   .member; in it .name .role .where
//   #composer #send #counter #editing #cancel-edit     #composer is the textarea
//   .message[data-id][data-status=send|delivered|read], with .own or .theirs; in it .text, .edited, .readers,
//     .status[aria-label][title], time, .day, .divider, [data-action=edit|delete], then [data-action=confirm-delete|keep]
//   .message.pending[data-status=queued|sending|failed]; in it .text, .reason, once failed [data-action=retry|discard]
//   #notice (what went wrong)   #new-messages (the pill)   #empty   #older   #notify

import * as buttons from "./buttons.js";
import * as composer from "./composer.js";
import * as connection from "./connection.js";
import { $, called, setText, showAvatar, soon } from "./dom.js";
import * as header from "./header.js";
import * as keyboard from "./keyboard.js";
import * as list from "./list.js";
import * as log from "./log.js";
import * as looking from "./looking.js";
import * as marks from "./marks.js";
import * as members from "./members.js";
import * as newroom from "./newroom.js";
import { notice } from "./notice.js";
import { notify } from "./notify.js";
import { Parlor } from "./parlor/index.js";
import * as pending from "./pending.js";
import { NoSession, session, token } from "./session.js";

let on;
let chat; // the library, for the user of this tab
let room; // the open one
let wanted; // the id of the one that is to be opened, while it isn't known yet
let moreRooms = true; // there may be more of them than are listed
let author; // whose are the drafts, and what was given up

// The callbacks, each a function: signIn(), if a person must give a token; connection(state), for each new state;
// moved(id), to a room, or to none.
export function listen(callbacks) {
  on = callbacks;
}

// --- Beginning and end -------------------------------------------------------------------------

// For the user of this session; `id` is the room to begin with, where there is one.
export function begin(id) {
  if (chat) end();
  wanted = id;
  const itsChat = new Parlor({
    url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/`,
    token: (why) => token(why).catch(noToken),
    storage: storage(),
    userId: session.user_id,
  });
  chat = itsChat;
  for (const [name, listener] of Object.entries(events)) chat.on(name, (event) => itsChat === chat && listener(event));
  $("add-room").hidden = $("first-room").hidden = session.pasted === true;
  looking.at(chat);
  chat.connect();
}

function end() {
  const ended = chat;
  if (room) close();
  chat = undefined;
  moreRooms = true;
  ended.close();
  drawList();
}

function noToken(error) {
  if (error instanceof NoSession) {
    chat.close();
    on.signIn();
  }
  throw error;
}

// What was typed outlives a reload, where the browser lets it.
function storage() {
  try {
    return localStorage;
  } catch {
    return undefined;
  }
}

// --- What the library tells -------------------------------------------------------------------

// A room is told of after it has changed, so most of it is to draw anew what shows it.
const events = {
  connection(state) {
    connection.show(state);
    on.connection(state);
    pending.show(chat, room);
    members.draw();
    if (state.state !== "open") for (const { user_id: id } of room?.members.values() ?? []) header.stopped(id);
  },
  ready({ resumed }) {
    setText($("me"), called(chat.userId));
    showAvatar($("my-avatar"), chat.userId);
    if (!resumed) moreRooms = true;
    if (chat.userId !== author) {
      composer.forget();
      pending.forget();
    }
    author = chat.userId;
    drawList();
    // The room may have gone meanwhile, or be further down the list than was told.
    if (room && !chat.room(room.id)) open(room.id);
    else if (room && (!resumed || log.isStale())) log.restart();
    else log.update();
    drawHeader();
    if (!room) openFirst();
  },
  message({ room: where, message }) {
    drawList();
    if (message.sender_id !== chat.userId) notify(where, message, chat.userId, () => open(where.id));
    if (where !== room) return;
    header.stopped(message.sender_id);
    log.update();
    marks.ask(chat, room);
  },
  edited: changed,
  deleted(event) {
    changed(event);
    const { id, lastMessage, from } = event.room;
    // It was all that was known of the room: the list wants to show the one before.
    if (!lastMessage && from > 1) chat.history(id, { before: from, limit: 1 }).then(drawList, () => {});
  },
  marks: changed,
  unread: () => drawList(),
  typing({ room: where, userId }) {
    if (where !== room) return;
    header.typing(userId);
    marks.ask(chat, room);
  },
  presence() {
    drawList();
    drawHeader();
  },
  roomAdded({ room: added }) {
    drawList();
    if (added.id === wanted) open(added.id);
  },
  roomChanged(event) {
    changed(event);
    if (event.room === room) drawHeader();
  },
  roomRemoved({ room: removed }) {
    drawList();
    if (removed === room) leave();
  },
  outgoing(outgoing) {
    pending.changed(outgoing);
    showEmpty();
  },
  error({ code, message }) {
    // What a connection is closed for, and that there is none, stands in the banner.
    if (!["closed", "disconnected", "cannot_connect"].includes(code)) notice(message);
  },
};

function changed({ room: where }) {
  drawList();
  if (where === room) log.update();
}

// --- What people do ---------------------------------------------------------------------------

list.listen({
  open,
  async more() {
    moreRooms = await attempt(() => chat.moreRooms()) ?? true;
    drawList();
  },
});
newroom.listen({ made: open });

composer.listen({
  send(text) {
    log.toEnd();
    chat.send(room.id, text);
  },
  edit: (id, text) => attempt(() => chat.edit(room.id, id, text).then(() => true)),
  typing: () => chat.typing(room.id),
  lastOwn: log.lastOwn,
});
keyboard.listen({ toEnd: log.toEnd });
log.listen({ gone: composer.letGo, trouble: ({ message }) => notice(message) });
buttons.listen({
  edit(id) {
    // While the library starts anew, what is shown may not be known.
    const message = room.message(id);
    if (message) composer.edit(message);
  },
  delete: (id) => attempt(() => chat.delete(room.id, id)),
  pointed: () => marks.ask(chat, room),
});

// What it resolves to; undefined, and a notice, where it fails.
async function attempt(action) {
  try {
    return await action();
  } catch ({ code, message }) {
    notice(code === "disconnected" ? "Not connected: this has to wait" : message);
  }
}

// What leads here: a click, a link, a notification. A room further down the list is looked for first.
export async function open(id) {
  if (room?.id === id && chat.room(id) === room) return;
  wanted = id;
  while (!chat.room(id) && moreRooms && chat.connection.state === "open") {
    const more = await attempt(() => chat.moreRooms());
    if (more === undefined) break; // the next connection comes back to it
    moreRooms = more;
  }
  if (wanted !== id) return;
  const next = chat.room(id);
  if (!next && room?.id === id && !moreRooms) return leave();
  if (!next) return;
  wanted = undefined;
  room = next;
  looking.at(chat, room);
  on.moved(id);
  $("messenger").dataset.pane = "room";
  header.show(chat.userId, room);
  members.show(chat, room);
  pending.show(chat, room);
  composer.show(room);
  log.show(chat, room);
  drawList();
  marks.ask(chat, room);
  // On a phone the keyboard would cover the log.
  if (matchMedia("(hover: hover)").matches) $("composer").focus();
}

// Back to the list.
export function close() {
  room = wanted = undefined;
  looking.at(chat);
  $("messenger").dataset.pane = "rooms";
  on.moved();
  members.show(chat);
  composer.show();
  pending.show(chat);
  log.show(chat);
  drawList();
}

// Where there is room beside the list, and just one to open, nobody needs to choose.
function openFirst() {
  if (wanted) open(wanted);
  else if (chat.rooms.length === 1 && matchMedia("(min-width: 44rem)").matches) open(chat.rooms[0].id);
}

// The user was removed from the open one.
function leave() {
  close();
  notice("You are no longer in this room");
}

$("back").addEventListener("click", close);
$("messenger").addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  if (!buttons.keep()) composer.cancel();
});
$("try-again").addEventListener("click", () => {
  if (chat.connection.state === "closed" && session.pasted) on.signIn($("why").textContent);
  else chat.connect();
});

// --- What is shown ----------------------------------------------------------------------------

const drawList = soon(() => {
  if (!chat) return;
  list.draw(chat, room?.id, moreRooms && chat.rooms.length >= 50);
  const unread = chat.rooms.reduce((sum, room) => sum + room.unread, 0);
  document.title = `${unread ? `(${unread}) ` : ""}${chat.userId === undefined ? "" : `${called(chat.userId)} · `}Parlor`;
  showEmpty();
});

function drawHeader() {
  header.draw();
  members.draw();
}

function showEmpty() {
  $("empty").hidden = !room || room.messages.length > 0 || room.from > 1 || pending.has();
}
