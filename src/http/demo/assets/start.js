// Where the page begins: who is to chat, by the URL, by a choice or by a token; and what the URL leads to from then on.

import * as chat from "./chat.js";
import { $, setText } from "./dom.js";
import { enter, session } from "./session.js";

// A link opens the page as someone: /#1, and in a room: /#1/7. With a token of one's own nobody is named: /#/7.
function route() {
  const [, user, room] = location.hash.match(/^#(\d*)(?:\/(\d+))?$/) ?? [];
  return { user: Number(user) || undefined, room: Number(room) || undefined };
}

chat.listen({
  signIn: showSignIn,
  // So a reload comes back to the room, and a phone's own button goes back to the list.
  moved(room) {
    if (room !== route().room) location.hash = `${session.user_id ?? ""}${room ? `/${room}` : ""}`;
  },
});

addEventListener("hashchange", () => {
  const { user, room } = route();
  if (!session) return start();
  // Someone else starts afresh.
  if (user !== session.user_id) return location.reload();
  if (room) chat.open(room);
  else chat.close();
});

$("use-token").addEventListener("click", () => showSignIn());
$("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = $("token").value.trim();
  // It travels as a subprotocol, which can't be made of anything else.
  if (!/^[\w.-]+$/.test(token)) return showSignIn("That is no token: it should be letters, digits and dots.");
  $("token").value = "";
  history.replaceState(null, "", "#");
  begin({ token, pasted: true });
});

function showView(name) {
  for (const id of ["chooser", "sign-in", "messenger"]) $(id).hidden = id !== name;
}

function showSignIn(why) {
  if (why) setText($("sign-in-why"), why);
  showView("sign-in");
  $("token").focus();
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
