// How it stands with the connection, for people to see: a line in the corner, and a banner that says why there is
// none, with the close code, and when it is tried again. The library does the connecting; this only shows it.

import { $ } from "./dom.js";

const STATES = {
  idle: "Not connected",
  connecting: "Connecting…",
  open: "Connected",
  waiting: "Offline",
  closed: "Not connected",
};

let tick;    // timer of the countdown
let reason;  // {code, why} of the last close, until there is a connection again

// `state` is the library's ConnectionState.
export function show({ state, ms, code, why }) {
  $("messenger").dataset.connection = $("state").dataset.state = $("banner").dataset.state = state;
  $("state").textContent = STATES[state];
  if (why) reason = { code, why };
  if (state === "open") reason = undefined;
  // It stays during a new try, or it would flicker.
  $("banner").hidden = !reason;
  $("why").textContent = reason ? sentence(reason) : "";
  $("why").dataset.code = reason?.code ?? "";
  $("try-again").disabled = state === "connecting";
  $("try-again").textContent = state === "closed" ? "Try again" : "Try now";
  clearTimeout(tick);
  $("countdown").textContent = "";
  if (state === "waiting") countDown(Date.now() + ms);
}

function sentence({ code, why }) {
  const text = why.includes(`(${code})`) ? why : `${why} (${code})`;
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}

function countDown(until) {
  const left = until - Date.now();
  $("countdown").textContent = left > 0 ? `Next try in ${Math.ceil(left / 1000)} s.` : "";
  if (left > 0) tick = setTimeout(() => countDown(until), left % 1000 || 1000);
}
