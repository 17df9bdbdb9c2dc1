import { Backoff } from "./backoff.js";
import { ParlorError, reasonOf } from "./errors.js";
import { Outgoing } from "./outgoing.js";
import { Shelf } from "./shelf.js";
/**
 * After these errors the server may or may not have stored the message. Sending it again is safe, because the server
 * recognizes its `client_id`.
 */
const PASSING = ["timeout", "unavailable", "internal", "no_answer"];
/**
 * The number of failures after which a message counts as the cause of the failures. The library then gives this message
 * up. Failures are the error `internal`, and a close of the socket because a frame was too large.
 */
const FAULTS = 5;
/** The shortest pause after `rate_limited`, in ms. The server closes a socket that gets this error 10 times in 10 s. */
const LIMITED = 1_500;
/** The close code for a frame that is larger than the server's limit. */
const TOO_LARGE = 1009;
/**
 * Half of the server's default limit for a frame, in bytes. If no message that is being sent is larger than this size,
 * another frame, for example an edit, probably caused the close with 1009.
 */
const LARGE = 32 * 1024;
/**
 * The queue of messages that the server has not acknowledged yet, in order within each room.
 *
 * Only one message of a room is being sent at a time. A message leaves the queue when the server acknowledges or
 * rejects it, and then the next message is sent. This keeps the order even if connections are lost in between.
 */
export class Outbox {
    #options;
    #backoff;
    #queues = new Map();
    #faults = new Map();
    #shelf; // set when the user is known
    #open = false;
    #pauseUntil = 0; // for all rooms, because the server's rate limits apply to the user
    /**
     * True after the error `rate_limited`. While it is true, only one message of all rooms is being sent at a time, so
     * that the server refuses at most one message. Reset when all queues are empty.
     */
    #limited = false;
    #cancel = () => { };
    #lastAt = 0;
    constructor(options) {
        this.#options = options;
        this.#backoff = new Backoff(options.random);
    }
    add(roomId, text) {
        this.#lastAt = Math.max(this.#lastAt + 1, this.#options.clock.now());
        const outgoing = new Outgoing(roomId, text, newId(), this.#lastAt);
        this.#enqueue(outgoing);
        this.#store(() => this.#shelf?.put(outgoing));
        this.#options.changed(outgoing);
        this.#pump(roomId);
        return outgoing;
    }
    /** Returns the messages of a room that are not acknowledged yet, the oldest first. */
    list(roomId) {
        return [...(this.#queues.get(roomId) ?? [])];
    }
    /**
     * Sets the user of the messages. Loads the user's stored messages into the queue, and stores each message from now
     * on.
     */
    belongsTo(user) {
        if (this.#shelf || !this.#options.storage)
            return;
        const shelf = new Shelf(this.#options.storage, user);
        this.#shelf = shelf;
        this.#store(() => {
            const kept = shelf.all();
            for (const queue of this.#queues.values())
                for (const outgoing of queue)
                    shelf.put(outgoing);
            for (const outgoing of kept) {
                this.#enqueue(outgoing);
                this.#options.changed(outgoing);
            }
        });
    }
    /** Starts sending, because the connection is open. */
    opened() {
        this.#open = true;
        this.#pumpAll();
    }
    /**
     * Stops sending, because the connection is lost. `Calls.abandon` rejects the calls of the messages that were being
     * sent, and these messages are queued again.
     */
    lost(code) {
        this.#open = false;
        if (code === TOO_LARGE)
            this.#refuseLargest();
    }
    #enqueue(outgoing) {
        const queue = [...(this.#queues.get(outgoing.roomId) ?? []), outgoing];
        queue.sort((a, b) => a.at - b.at || (a.clientId < b.clientId ? -1 : 1));
        this.#queues.set(outgoing.roomId, queue);
    }
    #pumpAll() {
        const heads = [...this.#queues.values()].flatMap(([head]) => head ?? []);
        for (const { roomId } of heads.sort((a, b) => a.at - b.at))
            this.#pump(roomId);
    }
    #pump(roomId) {
        const queue = this.#queues.get(roomId) ?? [];
        const next = queue[0];
        if (!next || !this.#open || queue.some(({ state }) => state === "sending"))
            return;
        if (this.#limited && this.#sending().length > 0)
            return;
        const pause = this.#pauseUntil - this.#options.clock.now();
        if (pause > 0) {
            this.#cancel();
            this.#cancel = this.#options.clock.after(pause, () => this.#pumpAll());
            return;
        }
        void this.#deliver(next);
    }
    async #deliver(outgoing) {
        const { roomId, text, clientId } = outgoing;
        outgoing.state = "sending";
        this.#options.changed(outgoing);
        try {
            const call = { action: "send", room_id: roomId, message: text, client_id: clientId };
            const answer = await this.#options.calls.call(call);
            // If the message was stored by an earlier try and then deleted, the answer is `message_deleted`. This answer also
            // means that the message was sent.
            if (answer.type === "chat_message")
                this.#succeed(outgoing, answer.message.message_id);
            else if (answer.type === "message_deleted")
                this.#succeed(outgoing, answer.message_id);
            else
                throw new ParlorError("internal", `not an answer to a message: ${answer.type}`, "send");
        }
        catch (error) {
            this.#failed(outgoing, error);
        }
        if (this.#limited)
            this.#pumpAll();
        else
            this.#pump(roomId);
    }
    #succeed(outgoing, messageId) {
        this.#backoff.reset();
        this.#leave(outgoing);
        outgoing.succeed(messageId);
        this.#options.changed(outgoing);
    }
    #failed(outgoing, error) {
        if (outgoing.state !== "sending")
            return; // already given up as too large
        if (!(error instanceof ParlorError))
            return this.#refuse(outgoing, new ParlorError("internal", reasonOf(error)));
        const wait = this.#waitAfter(outgoing, error);
        if (wait === undefined)
            return this.#refuse(outgoing, error);
        this.#pauseUntil = Math.max(this.#pauseUntil, this.#options.clock.now() + wait);
        outgoing.state = "queued";
        this.#options.changed(outgoing);
    }
    /** Returns the pause before the next try, in ms. Undefined if another try would fail in the same way. */
    #waitAfter(outgoing, { code, retryAfterMs }) {
        if (code === "disconnected") {
            this.#open = false; // until the connection is open again; otherwise the message would be tried in an endless loop
            return 0;
        }
        if (code === "rate_limited") {
            this.#limited = true;
            return Math.max(LIMITED, retryAfterMs ?? this.#backoff.next());
        }
        if (!PASSING.includes(code))
            return undefined;
        if (code === "internal" && this.#isToBlame(outgoing))
            return undefined;
        return this.#backoff.next();
    }
    /** Counts a failure of a message. Returns true if the message now counts as the cause of its failures. */
    #isToBlame(outgoing) {
        const faults = (this.#faults.get(outgoing) ?? 0) + 1;
        this.#faults.set(outgoing, faults);
        return faults >= FAULTS;
    }
    #refuse(outgoing, error) {
        this.#leave(outgoing);
        outgoing.fail(error);
        this.#options.changed(outgoing);
    }
    /**
     * Gives up the largest message that was being sent, after the server closed the socket because a frame was too large.
     * The close does not say which frame was too large. If this frame were sent again, the server would close the next
     * connection, too. If no message is larger than `LARGE`, either another frame was too large, or the server's limit is
     * low. In this case, the largest message is given up after `FAULTS` closes.
     */
    #refuseLargest() {
        const largest = this.#sending().sort((a, b) => sizeOf(b) - sizeOf(a))[0];
        if (!largest || (sizeOf(largest) <= LARGE && !this.#isToBlame(largest)))
            return;
        this.#refuse(largest, new ParlorError("too_large", "larger than the server takes", "send"));
    }
    #sending() {
        return [...this.#queues.values()].flat().filter(({ state }) => state === "sending");
    }
    #leave(outgoing) {
        const rest = this.list(outgoing.roomId).filter((other) => other !== outgoing);
        if (rest.length > 0)
            this.#queues.set(outgoing.roomId, [...rest]);
        else
            this.#queues.delete(outgoing.roomId);
        if (this.#queues.size === 0)
            this.#limited = false;
        this.#faults.delete(outgoing);
        this.#store(() => this.#shelf?.remove(outgoing));
    }
    /**
     * Runs an operation of the storage. If the storage is full or disabled, reports the error; messages are still sent.
     */
    #store(run) {
        try {
            run();
        }
        catch (error) {
            this.#options.error(new ParlorError("storage", reasonOf(error)));
        }
    }
}
/** Returns the size of the text as JSON, in bytes. */
const sizeOf = ({ text }) => new TextEncoder().encode(JSON.stringify(text)).length;
/**
 * Returns a new random id. It is a UUID if `crypto.randomUUID` exists. A page without TLS does not have this function,
 * and Node before 20 has no `crypto`.
 */
function newId() {
    const crypto = globalThis.crypto;
    if (typeof crypto?.randomUUID === "function")
        return crypto.randomUUID();
    const bytes = new Uint8Array(16);
    if (crypto)
        crypto.getRandomValues(bytes);
    // The id is no secret. The id must only differ from the other ids of this user.
    else
        bytes.forEach((_, index) => { bytes[index] = Math.random() * 256; });
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
