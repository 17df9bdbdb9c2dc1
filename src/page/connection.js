// The socket, and another one whenever it closes: how to connect to /ws/chat/, what the first frame is, what
// the close codes mean, and how long to wait before the next try.
//
// It promises that one socket at a time is listened to, that a close is told with its code and in words, that
// a socket that has gone silent is given up, and that servers which restart aren't stormed: each try waits
// longer than the last, by a part that is random. It leaves to session.js where tokens come from, to outbox.js
// what becomes of a message that was under way, and to chat.js what frames mean and what is shown.

import { BadAnswer, renew, session } from "./session.js";

const ANSWER_WITHIN = 15e3; // ms; a socket that doesn't answer for so long is taken for dead
const BACKOFF_FIRST = 1e3;  // ms, doubled with each try ...
const BACKOFF_MOST = 15e3;  // ... up to this, then cut by up to half at random
const STEADY_AFTER = 10e3;  // ms a socket has to last for the back-off to start afresh
const PATIENT_TRIES = 3;    // so many tries count as made where the close code asks for patience

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

let on;
let state;           // open|connecting|waiting|refused; open once the history has arrived ...
let openSince = 0;   // ... at this time
let socket;          // from its start to its close
let tries = 0;       // since a connection was steady
let staleTokens = 0; // 4001s since a connection was open
let nextTry;         // timer of the countdown
let watchdog;        // timer of ANSWER_WITHIN

// Whom to tell, each a function:
//   state(state, code, why)   it changed; `why` and `code` where a socket closed, or none could be made
//   countdown(seconds)        until the next try, each second
//   noSession()               there is no token to connect with; nothing more happens until connect()
//   history(messages)         the first frame: the newest messages, newest first; from now on it is open
//   event(frame)              any later frame
//   lost()                    the socket is gone, and whatever was under way on it is in doubt
export function listen(callbacks) {
  on = callbacks;
}

export const isOpen = () => state === "open";

// At once, whatever the countdown says.
export function connect() {
  staleTokens = 0;
  attempt();
}

// False, and nothing is sent, while it isn't open.
export function send(frame) {
  if (isOpen()) socket.send(JSON.stringify(frame));
  return isOpen();
}

// A laptop that slept has a socket that looks open and is dead: it never answers. So whoever sends something
// that has to be answered says so, and says when it was.
export function expectAnswer() {
  clearTimeout(watchdog);
  watchdog = setTimeout(() => {
    socket.close();
    onClose(1006, "no answer");
  }, ANSWER_WITHIN);
}

export function answered() {
  clearTimeout(watchdog);
}

async function attempt() {
  clearTimeout(nextTry);
  setState("connecting");
  try {
    if (!(await renew(staleTokens > 0))) return on.noSession();
  } catch (error) {
    return tryLater("", error instanceof BadAnswer ? error.message : CLOSE[1006].text);
  }
  // The spelling `firts_user` and the slash at the end are the protocol's own. A browser can set no headers
  // of a WebSocket, and a token in a URL ends up in logs, so it travels as a subprotocol.
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

// A socket isn't open when the browser says so, since a refusal comes after that, but with its first frame:
// the history, an array. All others are objects with a type.
function onFrame(frame) {
  if (!Array.isArray(frame)) return on.event(frame);
  answered();
  openSince = Date.now();
  staleTokens = 0;
  setState("open");
  on.history(frame);
}

function onClose(code, reason) {
  answered();
  if (isOpen() && Date.now() - openSince > STEADY_AFTER) tries = 0;
  socket = undefined;
  on.lost();

  const known = CLOSE[code] ?? { text: "The connection was closed" };
  const why = `${known.text} (${code}${reason ? `: ${reason}` : ""})`;
  // A token that has expired is replaced without a word; a new one that is refused too is news.
  if (code === 4001 && !session.pasted && staleTokens++ === 0) return attempt();
  if (known.final) return setState("refused", code, why);
  if (known.patient) tries = Math.max(tries, PATIENT_TRIES);
  tryLater(code, why);
}

function tryLater(code, why) {
  const most = Math.min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** tries++);
  const at = Date.now() + most * (0.5 + Math.random() / 2);
  setState("waiting", code, why);
  const tick = () => {
    const left = at - Date.now();
    if (left <= 0) return attempt();
    on.countdown(Math.ceil(left / 1000));
    nextTry = setTimeout(tick, left % 1000 || 1000);
  };
  tick();
}

function setState(next, code, why) {
  state = next;
  on.state(state, code, why);
}

// Where someone looks again, or the network is back, there is no use in waiting.
const wakeUp = () => state === "waiting" && !document.hidden && connect();
addEventListener("online", wakeUp);
document.addEventListener("visibilitychange", wakeUp);
