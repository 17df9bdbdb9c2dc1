import { ParlorError } from "./errors.js";
/** How long an answer may take, in ms; the server gives up after 10 s by itself. */
const ANSWER_WITHIN = 15_000;
/**
 * Actions that wait for their answer. Each goes out with a `ref` of its own, and the frame that has it back is the
 * answer: a reply, the event that it caused, or an error.
 */
export class Calls {
    clock;
    send;
    #waiting = new Map();
    #last = 0;
    /** `send` is false where there is no connection. */
    constructor(clock, send) {
        this.clock = clock;
        this.send = send;
    }
    /** Rejects with a ParlorError: the server's, `disconnected` or `no_answer`. */
    call(action) {
        const ref = String(++this.#last);
        return new Promise((resolve, reject) => {
            if (!this.send({ ...action, ref })) {
                return reject(new ParlorError("disconnected", "there is no connection", action.action));
            }
            const cancel = this.clock.after(ANSWER_WITHIN, () => {
                this.#waiting.delete(ref);
                reject(new ParlorError("no_answer", "no answer came in time", action.action));
            });
            this.#waiting.set(ref, { resolve, reject, cancel });
        });
    }
    /** Whether this frame is the answer that a call was waiting for. */
    settle(frame) {
        if (!("ref" in frame) || typeof frame.ref !== "string")
            return false;
        const waiting = this.#waiting.get(frame.ref);
        if (!waiting)
            return false;
        this.#waiting.delete(frame.ref);
        waiting.cancel();
        if (frame.type === "error")
            waiting.reject(ParlorError.from(frame));
        else
            waiting.resolve(frame);
        return true;
    }
    /** The connection is lost: no answer will come any more. */
    abandon() {
        for (const { reject, cancel } of this.#waiting.values()) {
            cancel();
            reject(new ParlorError("disconnected", "the connection was lost before the answer came"));
        }
        this.#waiting.clear();
    }
}
