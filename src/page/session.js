// Who has this tab, who the other one is, and the token that proves it: a JWT.
//
// It promises that a token is stored nowhere, so that it is gone when the tab is, and that one which the
// server hands out lasts for a while yet. How a client comes by its token is no part of the protocol: this
// page asks its own server, and where that hands out none, chat.js asks the person. When one is needed, and
// what a refused one means, is left to connection.js.

const TOKEN_SPARE = 30e3;   // ms of life below which a token isn't used for another try
const ANSWER_WITHIN = 15e3; // ms; a server that doesn't answer for so long is taken for gone

// The server is there, but has no session for us at the moment.
export class BadAnswer extends Error {}

export let session; // {user_id, peer_id, token, expires_at}, or {user_id, peer_id, token, pasted}

export function enter(who) {
  session = who;
}

// Sees to it that there is a token to connect with: a new one where the last was refused or is about to
// expire. False where the server hands out none; throws BadAnswer, or what fetch throws.
export async function renew(wasRefused) {
  const lasts = Date.parse(session.expires_at) - Date.now() > TOKEN_SPARE;
  if (session.pasted || (lasts && !wasRefused)) return true;
  const answer = await fetch("/page/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ user: session.user_id }),
    cache: "no-store",
    signal: AbortSignal.timeout(ANSWER_WITHIN),
  });
  if (answer.status === 404) return false;
  if (!answer.ok) throw new BadAnswer(`The server answered ${answer.status} to the request for a session`);
  session = await answer.json();
  return true;
}

// An id is a number or a string; both go into the URL the same way, and no two look the same.
export const isOwn = (message) => String(message.sender_id) === String(session.user_id);
export const called = (id) => (/^\d+$/.test(id) ? `User ${id}` : String(id));
