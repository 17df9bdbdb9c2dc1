import { CLOSE_CODES } from "./wire.js";

/**
 * What to do when a socket has closed.
 * - `back off`: connect again, each time later.
 * - `soon`: the server goes away and another is there; a pause is only so that not all come at once.
 * - `new token`: connect again at once, with a token that is asked for anew; but only once.
 * - `be patient`: it was too much of something; connecting again soon would be more of it.
 * - `give up`: connecting again would be answered in the same way.
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

/** The code of a connection that was lost, or never came to be; no server sends it. */
export const LOST = 1006;

/** In words, for people: what the server said, else what its contract says. */
export function whyClosed(code: number, reason: string): string {
  const known = code === LOST ? "the connection was lost, or the server can't be reached" : CLOSE_CODES[code];
  return `${reason || known || "the connection was closed"} (${code})`;
}
