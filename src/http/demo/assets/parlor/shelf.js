import { Outgoing } from "./outgoing.js";
/**
 * Stores the messages that the server has not acknowledged, so that they survive a reload of the page.
 *
 * Each message has its own key, and there is no list of messages. If two tabs changed one shared list, each tab would
 * overwrite the changes of the other tab. The keys of a user begin with the user's id, so that messages of another user
 * of the same browser are not sent.
 */
export class Shelf {
    storage;
    #prefix;
    constructor(storage, user) {
        this.storage = storage;
        // The id is written as JSON, because 7 and "7" would otherwise be the same text.
        this.#prefix = `parlor:outgoing:${JSON.stringify(user)}:`;
    }
    put({ roomId, text, clientId, at }) {
        this.storage.setItem(this.#prefix + clientId, JSON.stringify({ roomId, text, at }));
    }
    remove({ clientId }) {
        this.storage.removeItem(this.#prefix + clientId);
    }
    /**
     * Returns all stored messages of the user, also those of other tabs. If two tabs send the same message, the server
     * stores it only once.
     */
    all() {
        const keys = Array.from({ length: this.storage.length }, (_, index) => this.storage.key(index));
        const own = keys.filter((key) => key !== null).filter((key) => key.startsWith(this.#prefix));
        return own.flatMap((key) => parse(key.slice(this.#prefix.length), this.storage.getItem(key)) ?? []);
    }
}
/** Reads a stored message. Undefined if the value is not valid, for example because an older version wrote it. */
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
