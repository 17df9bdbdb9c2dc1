// The user of this tab, and the user's token: a JWT.
//
// A token is stored nowhere, so it is gone when the tab is closed. A token of the server is renewed before it expires.
// This page asks its own server for a token. If the server gives none, start.js asks the user. An application asks its
// own backend for tokens and rooms.

const TOKEN_SPARE = 90e3;   // ms of validity that a token must have left; longer than a try to connect takes
const ANSWER_WITHIN = 15e3; // ms until a request fails

// This server gives no tokens.
export class NoSession extends Error {}

export let session; // {user_id, people, token, expires_at} of the server, or {token, pasted: true}

export function enter(who) {
  session = who;
}

// The library's option `token`. Fetches a new token if the last one was refused or is about to expire.
export async function token({ refused }) {
  const lasts = Date.parse(session.expires_at) - Date.now() > TOKEN_SPARE;
  if (session.pasted || (lasts && !refused)) return session.token;
  session = await post("/page/session", { user: session.user_id });
  return session.token;
}

// Makes the room of this user and another one, or a new group. Returns the room's id.
export async function makeRoom(members, name) {
  const { room_id: id } = await post("/page/room", { members, name }, { Authorization: `Bearer ${session.token}` });
  return id;
}

async function post(path, body, headers = {}) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
    cache: "no-store",
    signal: AbortSignal.timeout(ANSWER_WITHIN),
  });
  if (answer.status === 404) throw new NoSession("This server hands out no sessions");
  if (!answer.ok) throw new Error(`The server answered ${answer.status}`);
  return answer.json();
}

// Where unsent messages outlive a reload, if the browser allows storage.
export function storage() {
  try {
    return localStorage;
  } catch {
    return undefined;
  }
}
