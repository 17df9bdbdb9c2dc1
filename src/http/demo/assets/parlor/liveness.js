/** A socket that says nothing for so long is asked, in ms ... */
const QUIET = 25_000;
/** ... and is dead if it then says nothing for so long. */
const ANSWER_WITHIN = 10_000;
/**
 * Finds out that a connection is dead. A network that is gone doesn't say so, and the pings of WebSocket itself are
 * hidden from a page, so the protocol has an action for it. Any frame proves that the other side lives.
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
    /** Something came. */
    heard() {
        this.#cancel();
        this.#cancel = this.clock.after(QUIET, () => this.ask());
    }
    /** Asks now, for one: after a laptop slept. */
    ask() {
        this.#cancel();
        this.#cancel = this.clock.after(ANSWER_WITHIN, () => this.dead());
        this.ping();
    }
    stop() {
        this.#cancel();
    }
}
