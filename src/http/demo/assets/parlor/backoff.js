/** The first pause is up to this, in ms; it doubles with each failure ... */
const FIRST = 1_000;
/** ... up to this. */
const MOST = 30_000;
/**
 * How long to wait before the next try. "Full jitter": any part of the pause may be it, so that the clients of a
 * server that died don't come back in step. https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export class Backoff {
    random;
    #failures = 0;
    constructor(random) {
        this.random = random;
    }
    /** In ms; longer each time. */
    next() {
        return this.random() * Math.min(MOST, FIRST * 2 ** this.#failures++);
    }
    /** In ms, for who was told to slow down: at least half of the longest. */
    patient() {
        return MOST * (0.5 + this.random() / 2);
    }
    reset() {
        this.#failures = 0;
    }
}
