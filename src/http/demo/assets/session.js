// Who has this tab, and the token that proves it: a JWT.
//
// It promises that a token is stored nowhere, so that it is gone when the tab is, and that one which the server
// hands out lasts for a while yet. How a client comes by its token is no part of the protocol: this page asks its
// own server, and where that hands out none, chat.js asks the person. An application asks its own backend, and that
// is also where its rooms are made.

const TOKEN_SPARE = 90e3;   // ms of life below which a token isn't used any more: more than the library waits for
const ANSWER_WITHIN = 15e3; // ms; a server that doesn't answer for so long is taken for gone

// This server hands out no tokens.
export class NoSession extends Error {}

export let session; // {user_id, people, token, expires_at} of the server, or {token, pasted: true}

export function enter(who) {
  session = who;
}

// What the library asks for: a token to connect with. A new one where the last was refused or is about to expire.
export async function token({ refused }) {
  const lasts = Date.parse(session.expires_at) - Date.now() > TOKEN_SPARE;
  if (session.pasted || (lasts && !refused)) return session.token;
  session = await post("/page/session", { user: session.user_id });
  return session.token;
}

// The room of this user and another one, or a new group; its id.
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
