/** The first pause is at most this long, in ms. The maximum doubles with each failure, up to `MOST`. */
const FIRST = 1_000;
/** The maximum never grows beyond this value, in ms. */
const MOST = 30_000;
/**
 * Computes the pauses between attempts to connect. A pause is a random time from 0 up to a maximum that grows ("full
 * jitter"). Because of the random time, the clients of a dead server don't all reconnect at the same time.
 * https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export class Backoff {
    random;
    #failures = 0;
    constructor(random) {
        this.random = random;
    }
    /** Returns the next pause, in ms. Its maximum doubles with each call, up to 30 s. */
    next() {
        return this.random() * Math.min(MOST, FIRST * 2 ** this.#failures++);
    }
    /** Returns a long pause, in ms, for a client that the server told to slow down: 15 to 30 s. */
    patient() {
        return MOST * (0.5 + this.random() / 2);
    }
    reset() {
        this.#failures = 0;
    }
}
