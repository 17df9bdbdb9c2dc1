import { ParlorError } from "./errors.js";
/**
 * The longest wait for an answer, in ms. This limit is longer than the server's own limit for an action, which is 10 s
 * by default.
 */
const ANSWER_WITHIN = 15_000;
/**
 * The actions that wait for their answers. Each action is sent with its own `ref`. The answer is the frame with the
 * same `ref`: a reply, the event that the action caused, or an error.
 */
export class Calls {
    clock;
    send;
    #waiting = new Map();
    #last = 0;
    /** `send` sends a frame, and returns false if there is no connection. */
    constructor(clock, send) {
        this.clock = clock;
        this.send = send;
    }
    /**
     * Sends an action and returns its answer. Rejects with a ParlorError: the server's error, `disconnected` or
     * `no_answer`.
     */
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
    /** Settles the call that waits for this frame. Returns false if no call waits for it. */
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
    /** Rejects all waiting calls with `disconnected`, because the connection is lost. */
    abandon() {
        for (const { reject, cancel } of this.#waiting.values()) {
            cancel();
            reject(new ParlorError("disconnected", "the connection was lost before the answer came"));
        }
        this.#waiting.clear();
    }
}
