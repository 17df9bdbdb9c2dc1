/** The error with which promises of this library reject, and which the event `error` reports. */
export class ParlorError extends Error {
    code;
    action;
    retryAfterMs;
    name = "ParlorError";
    constructor(code, message, 
    /** The action that failed, if the error belongs to an action. */
    action, 
    /** With `rate_limited`: the time in ms after which the server accepts the action again. */
    retryAfterMs) {
        super(message);
        this.code = code;
        this.action = action;
        this.retryAfterMs = retryAfterMs;
    }
    static from(frame) {
        return new ParlorError(frame.code, frame.message, frame.action ?? undefined, frame.retry_after_ms ?? undefined);
    }
}
/** Returns the text of any thrown value. */
export const reasonOf = (error) => (error instanceof Error ? error.message : String(error));
