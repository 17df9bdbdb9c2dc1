/** The time without a received frame, in ms, after which the client sends a `ping`. */
const QUIET = 25_000;
/** The time after a `ping`, in ms, in which a frame must arrive. Otherwise the connection counts as dead. */
const ANSWER_WITHIN = 10_000;
/**
 * Detects dead connections. If the network is gone, the browser reports no event. A web page can't send or see the
 * pings of the WebSocket protocol, so Parlor's protocol has the action `ping`. Any received frame proves that the
 * connection works.
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
