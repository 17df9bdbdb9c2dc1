/** If no frame arrives for this time, in ms, the client sends a `ping`. */
const QUIET = 25_000;
/** If no frame arrives for this time after the `ping`, in ms, the connection counts as dead. */
const ANSWER_WITHIN = 10_000;
/**
 * Finds out that a connection is dead. If the network is gone, the browser gets no event. A web page can't send or see
 * the pings of WebSocket itself, so the protocol has the action `ping`. Any received frame proves that the connection
 * works.
 */
export class Liveness {
    clock;
    ping;
    dead;
    #cancel = () => { };
    constructor(clock, ping, dead) {
        this.clock = clock;
        this.ping = ping;
        this.dead = dead;
    }
    /** Records that a frame arrived. */
    heard() {
        this.#cancel();
        this.#cancel = this.clock.after(QUIET, () => this.ask());
    }
    /** Sends a `ping` now, for example after a laptop slept. */
    ask() {
        this.#cancel();
        this.#cancel = this.clock.after(ANSWER_WITHIN, () => this.dead());
        this.ping();
    }
    stop() {
        this.#cancel();
    }
}
