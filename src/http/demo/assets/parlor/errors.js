/** All that this library rejects with and reports. */
export class ParlorError extends Error {
    code;
    action;
    retryAfterMs;
    name = "ParlorError";
    constructor(code, message, 
    /** The action that failed, where there was one. */
    action, 
    /** With `rate_limited`: in how many ms it would pass. */
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
/** Why, in words, whatever was thrown. */
export const reasonOf = (error) => (error instanceof Error ? error.message : String(error));
