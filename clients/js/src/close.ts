import { CLOSE_CODES } from "./wire.js";

/**
 * The client's reaction to the close of a socket.
 * - `back off`: connect again after a pause that grows with each failure.
 * - `soon`: the server shuts down, and another server may be available. Connect again after a short random pause, so
 *   that the clients don't all connect at the same time.
 * - `new token`: connect again immediately, with a new token. If the server also refuses this token, stay closed.
 * - `be patient`: the client exceeded a limit, and an early new connection would exceed the limit again. Connect again
 *   after a long pause.
 * - `give up`: stay closed, because the server would close a new connection in the same way.
 */
export type Plan = "back off" | "soon" | "new token" | "be patient" | "give up";

const PLANS: Readonly<Record<number, Plan>> = {
  1012: "soon",
  4001: "new token",
  4003: "give up",
  4004: "give up",
  4029: "be patient",
  4400: "give up",
};

export const planFor = (code: number): Plan => PLANS[code] ?? "back off";

/** The code of a connection that was lost or could not be opened. No server sends this code. */
export const LOST = 1006;

/** Returns the reason of a close as text for users: the server's reason, or else the meaning of the code. */
export function whyClosed(code: number, reason: string): string {
  const known = code === LOST ? "the connection was lost, or the server can't be reached" : CLOSE_CODES[code];
  return `${reason || known || "the connection was closed"} (${code})`;
}
