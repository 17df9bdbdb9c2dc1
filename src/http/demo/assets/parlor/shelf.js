import { Outgoing } from "./outgoing.js";
/**
 * Where messages wait that the server hasn't acknowledged, so that they outlive the page.
 *
 * A key for each, and no list of them: two tabs that change one value at a time would overwrite each other's. A user's
 * keys are found by their beginning, so that nobody else's are sent from the same browser.
 */
export class Shelf {
    storage;
    #prefix;
    constructor(storage, user) {
        this.storage = storage;
        // As JSON, for 7 and "7" are two.
        this.#prefix = `parlor:outgoing:${JSON.stringify(user)}:`;
    }
    put({ roomId, text, clientId, at }) {
        this.storage.setItem(this.#prefix + clientId, JSON.stringify({ roomId, text, at }));
    }
    remove({ clientId }) {
        this.storage.removeItem(this.#prefix + clientId);
    }
    /** All that is there, also what other tabs put there: sent twice it is one message all the same. */
    all() {
        const keys = Array.from({ length: this.storage.length }, (_, index) => this.storage.key(index));
        const own = keys.filter((key) => key !== null).filter((key) => key.startsWith(this.#prefix));
        return own.flatMap((key) => parse(key.slice(this.#prefix.length), this.storage.getItem(key)) ?? []);
    }
}
/** Undefined for what an older version, or someone else, may have left there. */
function parse(clientId, value) {
    try {
        const entry = JSON.parse(value ?? "");
        if (typeof entry !== "object" || entry === null)
            return undefined;
        const { roomId, text, at } = entry;
        if (typeof roomId !== "number" || typeof text !== "string" || typeof at !== "number")
            return undefined;
        return new Outgoing(roomId, text, clientId, at);
    }
    catch {
        return undefined;
    }
}
