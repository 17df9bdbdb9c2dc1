// The state of the connection: a line in the corner, and a banner. The banner says why there is no connection, and when
// the next try is. Its tooltip has the close code. The library does the connecting; this only shows it.

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
  $("why").title = reason ? `Close code ${reason.code}` : "";
  $("try-again").disabled = state === "connecting";
  $("try-again").textContent = state === "closed" ? "Try again" : "Try now";
  clearTimeout(tick);
  $("countdown").textContent = "";
  if (state === "waiting") countDown(Date.now() + ms);
}

// A close reason as a sentence. The code is for developers, and so in the tooltip.
export function sentence({ code, why }) {
  const text = why.replace(` (${code})`, "");
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}

function countDown(until) {
  const left = until - Date.now();
  $("countdown").textContent = left > 0 ? `Next try in ${Math.ceil(left / 1000)} s.` : "";
  if (left > 0) tick = setTimeout(() => countDown(until), left % 1000 || 1000);
}
