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
/** The code of a connection that was lost or could not be opened. No server sends this code. */
export const LOST = 1006;
/** Returns the reason of a close as text for users: the server's reason, or else the meaning of the code. */
export function whyClosed(code, reason) {
    const known = code === LOST ? "the connection was lost, or the server can't be reached" : CLOSE_CODES[code];
    return `${reason || known || "the connection was closed"} (${code})`;
}
