// The chat page: two people, one room, Level 1 of the wire protocol and nothing more, so that it can be read
// as an example of a client. It promises: what people type is shown as text, nothing is sent twice without a
// click, and a socket that closed says why.
//
// Start here: what the server says and what it changes, what people do and what it sends. The rest is left to
//   session.js      who I am, and the token that proves it
//   connection.js   the socket: connecting, close codes, trying again
//   outbox.js       messages on their way: one at a time, and what is in doubt
//   log.js          the messages there are
//   composer.js     the box people type in
//
// Tests hold on to these; the rest of the markup may change:
//   #choose-1 #choose-2 #use-token       the chooser: no #1 or #2 in the URL
//   #token #own-id #peer-id #enter       the form where the server hands out no sessions
//   #state[data-state=open|connecting|waiting|refused]
//   #banner #why[data-code] #countdown #try-again      why a socket closed; hidden while open
//   #composer #send #counter #editing #cancel-edit     #composer is the textarea
//   .message[data-id][data-status=send|delivered|read], with .own or .theirs; in it .text, .edited,
//     .status[aria-label], time, .day, [data-action=edit|delete], then [data-action=confirm-delete|keep]
//   .message.pending[data-status=queued|sending|unsure|failed]: no chat_message for it yet;
//     in it .text, .reason and, once failed, [data-action=retry|discard]
//   #notice (the message of an error frame)   #new-messages (the pill)   #empty   #other-side

import * as composer from "./composer.js";
import * as connection from "./connection.js";
import { $ } from "./dom.js";
import * as log from "./log.js";
import * as outbox from "./outbox.js";
import { called, enter, isOwn, session } from "./session.js";

const NOTICE_FOR = 7e3; // ms
const STATES = {
  open: "Connected",
  connecting: "Connecting…",
  waiting: "Reconnecting…",
  refused: "Not connected",
};

// --- What the server says ---------------------------------------------------------------------

// By their type. One that isn't here is ignored: a later server may say more.
const events = {
  chat_message({ message }) {
    if (isOwn(message)) outbox.confirm(message);
    log.add(message);
  },
  mark_message_as_delivered: ({ message }) => log.mark(message),
  mark_message_as_read: ({ message }) => log.mark(message),
  message_edited: ({ message_id: id, text }) => log.edit(id, text),
  message_deleted: ({ message_id: id }) => log.remove(id),
  error(frame) {
    notice(frame.message);
    outbox.refuse(frame);
  },
};

connection.listen({
  state: showState,
  countdown: (seconds) => { $("countdown").textContent = `Next try in ${seconds} s.`; },
  noSession: () => showSignIn("This server hands out no sessions. Paste a token of your own; it isn't stored."),
  history(messages) {
    const fresh = messages.filter((message) => message.message_id > log.newest && isOwn(message));
    log.replace(messages);
    outbox.resume(fresh);
    showEmpty();
  },
  event(frame) {
    if (Object.hasOwn(events, frame.type)) events[frame.type](frame);
  },
  lost: outbox.lost,
});

// --- What people do ---------------------------------------------------------------------------

composer.listen({
  send: outbox.add,
  edit: (id, text) => transmit({ action: "edit", message_id: id, text }),
});

log.listen({
  edit: composer.edit,
  delete: (id) => transmit({ action: "delete", message_id: id }),
  gone: composer.letGo,
});

// False, and a notice, where it can't be sent now.
function transmit(frame) {
  const sent = connection.send(frame);
  if (!sent) notice("Not connected: this has to wait");
  return sent;
}

$("chat").addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  if (!log.keep()) composer.cancel();
});

$("try-again").addEventListener("click", () => {
  if ($("state").dataset.state === "refused" && session.pasted) showSignIn($("why").textContent);
  else connection.connect();
});

// --- What is shown ----------------------------------------------------------------------------

function showView(name) {
  for (const id of ["chooser", "sign-in", "chat"]) $(id).hidden = id !== name;
}

function showSignIn(why) {
  if (why) $("sign-in-why").textContent = why;
  showView("sign-in");
  $("token").focus();
}

function showChat() {
  const { user_id: me, peer_id: peer, pasted = false } = session;
  $("peer-name").textContent = called(peer);
  $("peer-avatar").textContent = String(peer).slice(0, 1).toUpperCase();
  $("peer-avatar").classList.toggle("two", String(peer) === "2");
  $("me").textContent = `You: ${called(me)}`;
  $("other-side").hidden = pasted;
  $("other-side").href = `#${peer}`;
  $("other-side").lastElementChild.textContent = `Open as ${called(peer)}`;
  $("empty-hint").textContent = pasted ? "Say hello." : `Say hello, then open a second tab as user ${peer}.`;
  showView("chat");
  log.showUnseen();
  // On a phone the keyboard would cover the log.
  if (matchMedia("(hover: hover)").matches) $("composer").focus();
}

function showState(state, code, why) {
  $("state").dataset.state = $("banner").dataset.state = state;
  $("state").textContent = STATES[state];
  $("countdown").textContent = "";
  if (why || state === "open") {
    $("why").textContent = why ? `${why}.` : "";
    $("why").dataset.code = code ?? "";
  }
  $("banner").hidden = !$("why").textContent; // it stays during a new try, or it would flicker
  $("try-again").disabled = state === "connecting";
  $("try-again").textContent = state === "refused" ? "Try again" : "Try now";
}

function showEmpty() {
  $("empty").hidden = !connection.isOpen() || $("content").querySelector(".message") !== null;
}
const lists = new MutationObserver(showEmpty);
for (const id of ["messages", "pending"]) lists.observe($(id), { childList: true });

let noticeTimer;
function notice(message) {
  $("notice").textContent = message;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { $("notice").textContent = ""; }, NOTICE_FOR);
}

// --- Start ------------------------------------------------------------------------------------

$("use-token").addEventListener("click", () => showSignIn());

$("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const [token, me, peer] = ["token", "own-id", "peer-id"].map((id) => $(id).value.trim());
  // The token travels as a subprotocol, which can't be made of anything else.
  if (!/^[\w.-]+$/.test(token)) return showSignIn("That is no token: it should be letters, digits and dots.");
  if (session && (String(session.user_id) !== me || String(session.peer_id) !== peer)) {
    log.clear();
    outbox.clear();
  }
  $("token").value = "";
  begin({ user_id: me, peer_id: peer, token, pasted: true });
});

// A link can open the page as one of the two: /#1 or /#2. Another hash in an open chat starts afresh.
addEventListener("hashchange", () => (session ? location.reload() : start()));

function start() {
  if (!/^#[12]$/.test(location.hash)) return showView("chooser");
  const me = Number(location.hash.slice(1));
  $("own-id").value = me;
  $("peer-id").value = 3 - me;
  begin({ user_id: me, peer_id: 3 - me }); // as the server will say; the token is to come
}

function begin(who) {
  enter(who);
  showChat();
  connection.connect();
}

start();
