// The start of the page. The user comes from the URL, from a choice or from a token. Later, the URL names the open room.

import * as chat from "./chat.js";
import { sentence } from "./connection.js";
import { $, setText } from "./dom.js";
import { enter, session } from "./session.js";

// A link opens the page as someone: /#1, and in a room: /#1/7. With a pasted token the URL names no user: /#/7.
function route() {
  const [, user, room] = location.hash.match(/^#(\d*)(?:\/(\d+))?$/) ?? [];
  return { user: Number(user) || undefined, room: Number(room) || undefined };
}

let entering = false; // a token was given, and the server has not accepted or refused it yet

chat.listen({
  signIn(problem) {
    if (!problem) setText($("sign-in-why"), "This server gives no tokens. Paste a token of your own. It isn't stored.");
    showSignIn(problem);
  },
  // The form stays until the server has accepted the token. While the server cannot be reached, the banner says so.
  connection(state) {
    if (!entering || state.state === "connecting") return;
    entering = false;
    if (state.state === "closed") return showSignIn(sentence(state), state.code);
    $("token").value = "";
    showView("messenger");
  },
  // So that a reload opens the same room, and a phone's Back button leads to the list.
  moved(room) {
    if (room !== route().room) location.hash = `${session.user_id ?? ""}${room ? `/${room}` : ""}`;
  },
});

addEventListener("hashchange", () => {
  const { user, room } = route();
  if (!session) return start();
  // Another user starts with a new page.
  if (user !== session.user_id) return location.reload();
  if (room) chat.open(room);
  else chat.close();
});

$("use-token").addEventListener("click", () => showSignIn());
$("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = $("token").value.trim();
  // A token travels as a subprotocol, which cannot have other characters.
  if (!/^[\w.-]+$/.test(token)) return showSignIn("This is not a token: a token has only letters, digits, dots, - and _.");
  showProblem("");
  history.replaceState(null, "", "#");
  entering = true;
  enter({ token, pasted: true });
  chat.begin(route().room);
});
$("token").addEventListener("input", () => showProblem(""));

function showView(name) {
  for (const id of ["chooser", "sign-in", "messenger"]) $(id).hidden = id !== name;
}

// With a problem the refused token stays in its field, selected, so that the next one replaces it.
function showSignIn(problem = "", code = "") {
  if (problem && session?.pasted && !$("token").value) $("token").value = session.token;
  showView("sign-in");
  showProblem(problem, code);
  $("token").focus();
  $("token").select();
}

function showProblem(problem, code = "") {
  setText($("token-problem"), problem);
  $("token-problem").dataset.code = code;
  $("token-problem").title = code ? `Close code ${code}` : "";
  $("token").setAttribute("aria-invalid", problem !== "");
}

function begin(who) {
  enter(who);
  showView("messenger");
  chat.begin(route().room);
}

function start() {
  const { user } = route();
  if (user) begin({ user_id: user });
  else showView("chooser");
}

start();
