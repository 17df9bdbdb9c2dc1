// The chat page: two people, one room, Level 1 of the wire protocol and nothing more, so that it
// can be read as an example of a client. It promises: what people type is shown as text, nothing
// is sent twice without a click, and a socket that closed says why.
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

const MAX_CODE_POINTS = 4096;  // of a text; the server's default
const COUNTER_FROM = 200;      // the counter shows when so few are left
const MAX_MESSAGES = 500;      // bubbles kept in the page
const GROUP_WITHIN = 5 * 60e3; // ms between two messages that look like one turn
const ANSWER_WITHIN = 15e3;    // ms; a socket that doesn't answer for so long is taken for dead
const BACKOFF_FIRST = 1e3;     // ms, doubled with each try ...
const BACKOFF_MOST = 15e3;     // ... up to this, then cut by up to half at random
const STEADY_AFTER = 10e3;     // ms a socket has to last for the back-off to start afresh
const TOKEN_SPARE = 30e3;      // ms of life below which a token isn't used for another try
const NOTICE_FOR = 7e3;        // ms

// What a close code means. Where `final`, trying again by itself would change nothing.
const CLOSE = {
  1000: { text: "The server ended the connection" },
  1001: { text: "The server is going away" },
  1006: { text: "The connection was lost, or the server can't be reached" },
  1009: { text: "A message was larger than the server takes" },
  1011: { text: "The server ran into an error of its own" },
  1012: { text: "The server is restarting" },
  1013: { text: "The server can't reach its database" },
  4001: { text: "The token is missing, wrong or expired", final: true },
  4003: { text: "This user may not enter this room", final: true },
  4004: { text: "There is no such room", final: true },
  4008: { text: "This tab was too slow to keep up" },
  4029: { text: "Too many messages, or too many open tabs", patient: true },
  4400: { text: "The user ids are missing, malformed or the same", final: true },
};
// After these errors a message may still turn out to have been written.
const DOUBTFUL = ["timeout", "unavailable", "internal"];
const STATES = { open: "Connected", connecting: "Connecting…", waiting: "Reconnecting…", refused: "Not connected" };
const TICKS = { send: "Sent", delivered: "Delivered", read: "Read" };
const STATUSES = Object.keys(TICKS); // in their order: a status never goes back

const $ = (id) => document.getElementById(id);
const composer = $("composer");
const scroller = $("scroller");

let session;         // {user_id, peer_id, token, expires_at}, or {user_id, peer_id, token, pasted}
let socket;          // from its start to its close
let live = false;    // its history has arrived ...
let liveSince = 0;   // ... at this time
let tries = 0;       // since a connection was steady
let staleTokens = 0; // 4001s since a connection was live
let nextTry;         // timer of the countdown
let watchdog;        // timer of ANSWER_WITHIN
let newest = 0;      // the highest message id seen
let pauseUntil = 0;  // no sending before: rate_limited
let editing;         // {id, draft}: what #composer edits, and what was in it before
let stick = true;    // the log follows its end
let unseen = 0;      // messages that came below the fold, or while the tab was hidden
const rows = new Map(); // message_id -> {message, element}, oldest first
const pending = [];     // {text, state, element, doubtful}, oldest first

// --- Session: who am I, and the token that proves it ------------------------------------------

// Undefined where the server hands out none.
async function freshSession() {
  const lasts = Date.parse(session.expires_at) - Date.now() > TOKEN_SPARE;
  if (session.pasted || (lasts && staleTokens === 0)) return session;
  const answer = await fetch("/page/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ user: Number(location.hash.slice(1)) }),
    cache: "no-store",
    signal: AbortSignal.timeout(ANSWER_WITHIN),
  });
  if (answer.status === 404) return undefined;
  if (!answer.ok) throw new Error(`The server answered ${answer.status} to the request for a session`);
  return answer.json();
}

// An id is a number or a string; both go into the URL the same way, and no two look the same.
const isOwn = (message) => String(message.sender_id) === String(session.user_id);
const called = (id) => (/^\d+$/.test(id) ? `User ${id}` : String(id));

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
  showUnseen();
  if (matchMedia("(hover: hover)").matches) composer.focus(); // on a phone the keyboard would cover the log
}

$("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const [token, me, peer] = ["token", "own-id", "peer-id"].map((id) => $(id).value.trim());
  // The token travels as a subprotocol, which can't be made of anything else.
  if (!/^[\w.-]+$/.test(token)) return showSignIn("That is no token: it should be letters, digits and dots.");
  if (session && (String(session.user_id) !== me || String(session.peer_id) !== peer)) forgetRoom();
  session = { user_id: me, peer_id: peer, token, pasted: true };
  $("token").value = "";
  showChat();
  connect();
});

// --- Connection -------------------------------------------------------------------------------

async function connect() {
  clearTimeout(nextTry);
  setState("connecting");
  try {
    const fresh = await freshSession();
    if (!fresh) return showSignIn("This server hands out no sessions. Paste a token of your own; it isn't stored.");
    session = fresh;
  } catch (error) {
    return tryLater("", error.message.startsWith("The server") ? error.message : CLOSE[1006].text);
  }
  const [me, peer] = [session.user_id, session.peer_id].map(encodeURIComponent);
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const url = `${scheme}://${location.host}/ws/chat/?firts_user=${me}&second_user=${peer}/`;
  const opened = new WebSocket(url, ["Bearer", session.token]);
  socket = opened;
  // One that was given up may still have something to say; nobody listens.
  opened.onmessage = ({ data }) => socket === opened && onFrame(JSON.parse(data));
  opened.onclose = ({ code, reason }) => socket === opened && onClose(code, reason);
  expectAnswer();
}

// The first frame is the history, an array; all others are objects with a type.
function onFrame(frame) {
  if (Array.isArray(frame)) onHistory(frame);
  else if (Object.hasOwn(events, frame.type)) events[frame.type](frame);
}

function onClose(code, reason) {
  clearTimeout(watchdog);
  if (live && Date.now() - liveSince > STEADY_AFTER) tries = 0;
  socket = undefined;
  live = false;
  const sent = pending.find(({ state }) => state === "sending");
  if (sent) setPending(sent, "unsure", "Connection lost before it was confirmed");

  const known = CLOSE[code] ?? { text: "The connection was closed" };
  const why = `${known.text} (${code}${reason ? `: ${reason}` : ""})`;
  // A token that has expired is replaced without a word; a new one that is refused too is news.
  if (code === 4001 && !session.pasted && staleTokens++ === 0) return connect();
  if (known.final) return setState("refused", code, why);
  if (known.patient) tries = Math.max(tries, 3);
  tryLater(code, why);
}

function tryLater(code, why) {
  const most = Math.min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** tries++);
  const at = Date.now() + most * (0.5 + Math.random() / 2);
  setState("waiting", code, why);
  const tick = () => {
    const left = at - Date.now();
    if (left <= 0) return connect();
    $("countdown").textContent = `Next try in ${Math.ceil(left / 1000)} s.`;
    nextTry = setTimeout(tick, left % 1000 || 1000);
  };
  tick();
}

function setState(state, code, why) {
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

function tryNow() {
  if ($("state").dataset.state === "refused" && session.pasted) return showSignIn($("why").textContent);
  staleTokens = 0;
  connect();
}
const wakeUp = () => $("state").dataset.state === "waiting" && !document.hidden && tryNow();
$("try-again").addEventListener("click", tryNow);
addEventListener("online", wakeUp);
document.addEventListener("visibilitychange", wakeUp);

// A laptop that slept has a socket that looks open and is dead: it never answers.
function expectAnswer() {
  clearTimeout(watchdog);
  watchdog = setTimeout(() => {
    socket.close();
    onClose(1006, "no answer");
  }, ANSWER_WITHIN);
}

// False, and a notice, where it can't be sent now.
function transmit(frame) {
  if (live) socket.send(JSON.stringify(frame));
  else notice("Not connected: this has to wait");
  return live;
}

// --- What the server says ---------------------------------------------------------------------

// The array is all that is sure: older messages may have been edited or deleted while we were
// away, so bubbles that aren't in it go.
function onHistory(history) {
  clearTimeout(watchdog);
  live = true;
  liveSince = Date.now();
  staleTokens = 0;
  const listed = new Set(history.map((message) => message.message_id));
  for (const id of [...rows.keys()]) if (!listed.has(id)) removeRow(id);
  compare(history);
  for (const message of [...history].reverse()) show(message);
  newest = history[0]?.message_id ?? 0;
  setState("open");
  showEmpty();
  setTimeout(() => $("log").setAttribute("aria-live", "polite"), 500);
  pump();
}

const events = {
  chat_message({ message }) {
    newest = Math.max(newest, message.message_id);
    if (isOwn(message)) claim(message);
    show(message);
    pump();
  },
  mark_message_as_delivered: ({ message }) => mark(message),
  mark_message_as_read: ({ message }) => mark(message),
  message_edited({ message_id: id, text }) {
    const row = rows.get(id);
    if (!row) return; // older than what this page holds
    Object.assign(row.message, { text, edited: true });
    fill(row);
  },
  message_deleted({ message_id: id }) {
    removeRow(id);
    showEmpty();
  },
  error({ code, message, action, retry_after_ms: wait = 0 }) {
    notice(message);
    pauseUntil = Date.now() + wait;
    // One send is under way at a time, so this is the one that the error answers.
    const answers = action === "send" || code === "bad_json";
    const item = answers && pending.find(({ state }) => state === "sending");
    if (!item) return;
    clearTimeout(watchdog);
    item.doubtful = DOUBTFUL.includes(code);
    setPending(item, "failed", message);
    pump();
  },
};

function mark({ message_id: id, status }) {
  const row = rows.get(id);
  if (!row || STATUSES.indexOf(status) < STATUSES.indexOf(row.message.status)) return;
  row.message.status = status;
  fill(row);
}

// --- Sending: one at a time -------------------------------------------------------------------
// Level 1 has no id of the client's own, and an error says "send" but not which. So there is a queue
// with one message under way, and only that one can be in doubt when a socket closes.

function enqueue(text) {
  const item = { text, element: clone("pending-template") };
  item.element.querySelector(".text").textContent = text;
  item.element.querySelector("[data-action=retry]").onclick = () => { discard(item); enqueue(text); };
  item.element.querySelector("[data-action=discard]").onclick = () => { discard(item); composer.focus(); };
  pending.push(item);
  $("pending").append(item.element);
  setPending(item, "queued", live ? "" : "Will be sent once connected");
  showEmpty();
  toEnd();
  pump();
}

function setPending(item, state, reason) {
  item.state = item.element.dataset.status = state;
  item.element.querySelector(".reason").textContent = reason;
}

function pump() {
  const next = pending.find(({ state }) => state === "queued");
  if (!next || !live || pending.some(({ state }) => state === "sending")) return;
  const pause = pauseUntil - Date.now();
  if (pause > 0) return setTimeout(pump, pause);
  setPending(next, "sending", "");
  transmit({ action: "send", message: next.text });
  expectAnswer();
}

// The server sends our own message back, text and all: that is its acknowledgement.
function claim({ text }) {
  const sent = pending.find((item) => item.state === "sending" && item.text === text);
  if (sent) clearTimeout(watchdog);
  const item = sent ?? pending.find((late) => late.state === "failed" && late.doubtful && late.text === text);
  if (item) discard(item);
}

// What was under way when the socket closed is among the own messages that are new since, or is
// in doubt. It is never sent again by itself: it could arrive twice.
function compare(history) {
  const item = pending.find(({ state }) => state === "unsure");
  if (!item) return;
  const fresh = history.filter((message) => message.message_id > newest && isOwn(message));
  if (fresh.some(({ text }) => text === item.text)) return discard(item);
  item.doubtful = true;
  setPending(item, "failed", "Not confirmed: it may not have been sent");
}

function discard(item) {
  pending.splice(pending.indexOf(item), 1);
  item.element.remove();
  showEmpty();
}

// --- The log ----------------------------------------------------------------------------------

const clone = (template) => $(template).content.firstElementChild.cloneNode(true);

function show(message) {
  const known = rows.get(message.message_id);
  if (known) return fill(Object.assign(known, { message }));
  const row = { message, element: clone("message-template") };
  prepare(row);
  fill(row);
  rows.set(message.message_id, row);
  $("messages").append(row.element);
  if (arrange(row)) rows.forEach(arrange); // a new day: "Today" has become "Yesterday"
  if (rows.size > MAX_MESSAGES) removeRow(rows.keys().next().value);
  if (newest && !isOwn(message)) unseen++; // the first history isn't news
  showUnseen();
  showEmpty();
  if (stick) toEnd();
}

// What never changes in a message.
function prepare({ message, element }) {
  const own = isOwn(message);
  const created = new Date(message.created_at);
  element.dataset.id = message.message_id;
  element.classList.add(own ? "own" : "theirs");
  element.querySelector(".author").textContent = own ? "You: " : `${called(message.sender_id)}: `;
  Object.assign(element.querySelector("time"), {
    dateTime: message.created_at,
    title: created.toLocaleString(),
    textContent: created.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }),
  });
  if (!own) for (const part of element.querySelectorAll(".actions, .status")) part.remove();
}

// What may change. By textContent: what people type is never markup.
function fill({ message, element }) {
  const text = element.querySelector(".text");
  if (text.textContent !== message.text) text.textContent = message.text;
  element.dataset.status = message.status;
  element.querySelector(".status")?.setAttribute("aria-label", TICKS[message.status]);
  // An edit changes updated_at, a status doesn't.
  element.querySelector(".edited").hidden = !message.edited && message.updated_at === message.created_at;
}

// How a message stands to the one before it: a new day, a new turn. True for a new day.
function arrange({ message, element }) {
  const before = rows.get(Number(element.previousElementSibling?.dataset.id))?.message;
  const [now, then] = [new Date(message.created_at), new Date(before?.created_at ?? 0)];
  const newDay = now.toDateString() !== then.toDateString();
  const day = element.querySelector(".day");
  day.hidden = !newDay;
  day.textContent = newDay ? dayName(now) : "";
  const sameTurn = before && !newDay && isOwn(before) === isOwn(message) && now - then < GROUP_WITHIN;
  element.classList.toggle("first", !sameTurn);
  return newDay;
}

function dayName(date) {
  const [today, yesterday] = [new Date(), new Date()];
  yesterday.setDate(today.getDate() - 1);
  if (date.toDateString() === today.toDateString()) return "Today";
  if (date.toDateString() === yesterday.toDateString()) return "Yesterday";
  return date.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long", year: "numeric" });
}

function removeRow(id) {
  const { element } = rows.get(id) ?? {};
  if (!element) return;
  if (editing?.id === id) stopEditing(composer.value); // what was typed stays, as a new message
  if (element.contains(document.activeElement)) composer.focus();
  const after = rows.get(Number(element.nextElementSibling?.dataset.id));
  element.remove();
  rows.delete(id);
  if (after) arrange(after);
}

function forgetRoom() {
  for (const id of [...rows.keys()]) removeRow(id);
  for (const item of [...pending]) discard(item);
  newest = 0;
}

function showEmpty() {
  $("empty").hidden = !live || rows.size + pending.length > 0;
}

function toEnd() {
  stick = true;
  scroller.scrollTop = scroller.scrollHeight;
}

function showUnseen() {
  if (stick && !document.hidden) unseen = 0;
  $("new-messages").hidden = stick || unseen === 0;
  $("new-messages").textContent = unseen === 1 ? "1 new message ↓" : `${unseen} new messages ↓`;
  document.title = `${unseen ? `(${unseen}) ` : ""}${called(session.user_id)} · Parlor`;
}

// Only who is at the end of the log is taken along when it grows.
scroller.addEventListener("scroll", () => {
  stick = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40;
  showUnseen();
});
document.addEventListener("visibilitychange", () => session && showUnseen());
const follow = new ResizeObserver(() => stick && toEnd());
follow.observe(scroller);
follow.observe($("content"));
$("new-messages").addEventListener("click", () => { toEnd(); composer.focus(); });

// Deleting can't be undone, so it takes two buttons.
const actions = {
  edit: (id) => startEditing(id),
  delete(id, element) {
    document.querySelector(".confirming")?.classList.remove("confirming");
    element.classList.add("confirming");
    element.querySelector("[data-action=keep]").focus();
  },
  "confirm-delete": (id) => transmit({ action: "delete", message_id: id }),
  keep(id, element) {
    element.classList.remove("confirming");
    element.querySelector("[data-action=delete]").focus();
  },
};

$("messages").addEventListener("click", (event) => {
  const action = event.target.closest("[data-action]")?.dataset.action;
  const element = event.target.closest(".message");
  if (!action || event.detail > 1) return; // the second half of a double click confirms nothing
  actions[action](Number(element.dataset.id), element);
});

// --- The composer -----------------------------------------------------------------------------

const tooMany = () => [...composer.value].length - MAX_CODE_POINTS; // code points, not UTF-16 units

function submit() {
  const text = composer.value; // sent as it was typed, spaces and all
  if (!text.trim() || tooMany() > 0) return;
  if (!editing) {
    setComposer("");
    return enqueue(text);
  }
  const { id } = editing;
  const changed = text !== rows.get(id).message.text;
  if (!changed || transmit({ action: "edit", message_id: id, text })) stopEditing();
}

function startEditing(id) {
  const { message, element } = rows.get(id);
  const draft = editing ? editing.draft : composer.value;
  if (editing) stopEditing();
  editing = { id, draft };
  element.classList.add("editing");
  $("editing-text").textContent = message.text;
  $("editing").hidden = false;
  setComposer(message.text);
  composer.focus();
}

function stopEditing(draft = editing.draft) {
  rows.get(editing.id).element.classList.remove("editing");
  editing = undefined;
  $("editing").hidden = true;
  setComposer(draft);
  composer.focus();
}

function setComposer(text) {
  composer.value = text;
  composed();
}

// After every change of the box: its height, the counter, whether it can be sent.
function composed() {
  composer.style.height = "auto";
  composer.style.height = `${composer.scrollHeight}px`;
  const over = tooMany();
  $("counter").hidden = over < -COUNTER_FROM;
  $("counter").textContent = over > 0 ? `${over} too many` : `${-over} left`;
  composer.setAttribute("aria-invalid", over > 0);
  $("send").disabled = over > 0 || !composer.value.trim();
  $("send").setAttribute("aria-label", editing ? "Save the edit" : "Send");
}

let noticeTimer;
function notice(message) {
  $("notice").textContent = message;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { $("notice").textContent = ""; }, NOTICE_FOR);
}

function editLast(event) {
  const last = [...rows.values()].reverse().find(({ message }) => isOwn(message));
  if (!last) return;
  event.preventDefault(); // or the caret would jump to the start
  startEditing(last.message.message_id);
}

composer.addEventListener("input", composed);
composer.addEventListener("keydown", (event) => {
  if (event.isComposing) return; // Enter picks a word in an input method
  if (event.key === "ArrowUp" && !composer.value && !editing) editLast(event);
  if (event.key !== "Enter" || event.shiftKey) return;
  event.preventDefault();
  submit();
});
$("compose-form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
$("cancel-edit").addEventListener("click", () => stopEditing());
$("chat").addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  const confirming = document.querySelector(".confirming");
  if (confirming) actions.keep(0, confirming);
  else if (editing) stopEditing();
});

// --- Start ------------------------------------------------------------------------------------

// A link can open the page as one of the two: /#1 or /#2. Another hash in an open chat starts afresh.
addEventListener("hashchange", () => (session ? location.reload() : start()));
$("use-token").addEventListener("click", () => showSignIn());

function start() {
  if (!/^#[12]$/.test(location.hash)) return showView("chooser");
  const me = Number(location.hash.slice(1));
  $("own-id").value = me;
  $("peer-id").value = 3 - me;
  session = { user_id: me, peer_id: 3 - me }; // as the server will say; the token is to come
  showChat();
  connect();
}

start();
