import { CLOSE_CODES } from "./wire.js";
const PLANS = {
    1012: "soon",
    4001: "new token",
    4003: "give up",
    4004: "give up",
    4029: "be patient",
    4400: "give up",
};
export const planFor = (code) => PLANS[code] ?? "back off";
/** The code of a connection that was lost, or never came to be; no server sends it. */
export const LOST = 1006;
/** In words, for people: what the server said, else what its contract says. */
export function whyClosed(code, reason) {
    const known = code === LOST ? "the connection was lost, or the server can't be reached" : CLOSE_CODES[code];
    return `${reason || known || "the connection was closed"} (${code})`;
}
