// A small messenger on Level 3 of the wire protocol: one socket for all rooms of a user. It is a page to try Parlor out,
// and an example of a client. The client library (clients/js, copied to parlor/) connects, resumes, sends again and
// counts. The messenger shows the result.
//
// Start here: this file maps the library's events to changes of the page, and people's actions to calls of the library.
// The other files:
//   start.js        the user and the room that the URL names   session.js   the user's token
//   connection.js   the state of the connection
//   list.js         the list of rooms       newroom.js   the dialog that makes a room
//   header.js       the open room's head    members.js   the panel of its members
//   log.js          the open room's log     message.js, links.js, buttons.js   one message, its links and buttons
//   keyboard.js     the messages by keyboard
//   pending.js      messages that are not stored yet
//   composer.js     the text box
//   notify.js       desktop notifications   notice.js   errors
//   looking.js      whether the room is in view   marks.js   which member of a group has read which message
//
// The tests use these; the rest of the markup may change:
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
import { NoSession, session, storage, token } from "./session.js";

let on;
let chat; // the library, for the user of this tab
let room; // the open room
let wanted; // the id of the room to open, while the library does not know the room yet
let moreRooms = true; // the server may have more rooms than the list
let author; // the user whose drafts and failed messages the page keeps

// The callbacks, each a function: signIn(), if a person must give a token; connection(state), for each new state;
// moved(id), to a room, or to none.
export function listen(callbacks) {
  on = callbacks;
}

// --- Beginning and end -------------------------------------------------------------------------

// Starts the chat of this session's user. `id` is the room to open first, if any.
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

// --- Events of the library -------------------------------------------------------------------

// An event comes after the room has changed, so most listeners only draw again.
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
    // The user may have left the room meanwhile, or the room may be further down the list.
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
    // The deleted message was the only known one: the list shows the one before it.
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
    // The banner shows these.
    if (!["closed", "disconnected", "cannot_connect"].includes(code)) notice(message);
  },
};

function changed({ room: where }) {
  drawList();
  if (where === room) log.update();
}

// --- Actions of people ---------------------------------------------------------------------------

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
    // While the library loads the room again, it may not know a message that is still shown.
    const message = room.message(id);
    if (message) composer.edit(message);
  },
  delete: (id) => attempt(() => chat.delete(room.id, id)),
  pointed: () => marks.ask(chat, room),
});

// Returns the action's result. If the action fails, shows a notice and returns undefined.
async function attempt(action) {
  try {
    return await action();
  } catch ({ code, message }) {
    notice(code === "disconnected" ? "Not connected: this has to wait" : message);
  }
}

// Opens a room after a click, a link or a notification. Loads more of the list until the room is found.
export async function open(id) {
  if (room?.id === id && chat.room(id) === room) return;
  wanted = id;
  while (!chat.room(id) && moreRooms && chat.connection.state === "open") {
    const more = await attempt(() => chat.moreRooms());
    if (more === undefined) break; // the next connection tries again
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

// Opens the only room at once, if the screen is wide enough for the list and a room.
function openFirst() {
  if (wanted) open(wanted);
  else if (chat.rooms.length === 1 && matchMedia("(min-width: 44rem)").matches) open(chat.rooms[0].id);
}

// The user was removed from the open room.
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

// --- The list and the head ----------------------------------------------------------------------------

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
