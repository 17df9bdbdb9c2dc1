import { Backoff } from "./backoff.js";
import { ParlorError, reasonOf } from "./errors.js";
import { Outgoing } from "./outgoing.js";
import { Shelf } from "./shelf.js";
/** After these the message may be there or not. Its client_id makes sending it again safe. */
const PASSING = ["timeout", "unavailable", "internal", "no_answer"];
/** A fault that one message meets so often is taken for that message's. */
const FAULTS = 5;
/** After `rate_limited` nothing is sent for so long at least, in ms: a socket that is told so 10 times in 10 s is closed. */
const LIMITED = 1_500;
/** The close code for a frame over the server's limit. */
const TOO_LARGE = 1009;
/** Half of that limit by default, in bytes: where no message is larger, it was for another frame, such as an edit. */
const LARGE = 32 * 1024;
/**
 * Messages on their way to the server, in order within each room.
 *
 * One of a room is under way at a time: the next one is sent when the server has the one before, so the order holds
 * however often a connection is lost between. A message leaves when the server has it, or says that it won't have it.
 */
export class Outbox {
    #options;
    #backoff;
    #queues = new Map();
    #faults = new Map();
    #shelf; // once it is known whose
    #open = false;
    #pauseUntil = 0; // of all rooms: rates are the user's
    #limited = false; // until all is sent: one is under way at a time, of all rooms, so that one refusal comes of it
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
    /** What isn't acknowledged yet, oldest first. */
    list(roomId) {
        return [...(this.#queues.get(roomId) ?? [])];
    }
    /** Whose it is: what was kept for this user is taken up again, and what comes is kept from now on. */
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
    /** There is a connection. */
    opened() {
        this.#open = true;
        this.#pumpAll();
    }
    /** There is none any more; what was under way will be told so by its call. */
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
            // What was sent before, and deleted since, is answered by that; it was sent all the same.
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
            return; // refused meanwhile: it was too large
        if (!(error instanceof ParlorError))
            return this.#refuse(outgoing, new ParlorError("internal", reasonOf(error)));
        const wait = this.#waitAfter(outgoing, error);
        if (wait === undefined)
            return this.#refuse(outgoing, error);
        this.#pauseUntil = Math.max(this.#pauseUntil, this.#options.clock.now() + wait);
        outgoing.state = "queued";
        this.#options.changed(outgoing);
    }
    /** In ms; undefined where trying again would change nothing. */
    #waitAfter(outgoing, { code, retryAfterMs }) {
        if (code === "disconnected") {
            this.#open = false; // until it is opened anew, or this would go round and round
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
    /** Notes a fault; true where it is taken for the message's own. */
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
     * The close doesn't say which frame it was. Were that sent again, the next connection would be closed for it, too; so
     * where none is large, but the server's limit may be low, it is not sent again for ever either.
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
    /** A storage that is full, or switched off, is no reason not to send. */
    #store(run) {
        try {
            run();
        }
        catch (error) {
            this.#options.error(new ParlorError("storage", reasonOf(error)));
        }
    }
}
/** In bytes, as it goes out. */
const sizeOf = ({ text }) => new TextEncoder().encode(JSON.stringify(text)).length;
/** A UUID where there are any; a page that came without TLS has none, and Node before 20 has nothing of the kind. */
function newId() {
    const crypto = globalThis.crypto;
    if (typeof crypto?.randomUUID === "function")
        return crypto.randomUUID();
    const bytes = new Uint8Array(16);
    if (crypto)
        crypto.getRandomValues(bytes);
    // It is no secret: it has to differ from this user's other ones.
    else
        bytes.forEach((_, index) => { bytes[index] = Math.random() * 256; });
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
