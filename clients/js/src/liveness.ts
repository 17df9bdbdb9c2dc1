import type { Clock } from "./clock.js";

/** A socket that says nothing for so long is asked, in ms ... */
const QUIET = 25_000;
/** ... and is dead if it then says nothing for so long. */
const ANSWER_WITHIN = 10_000;

/**
 * Finds out that a connection is dead. A network that is gone doesn't say so, and the pings of WebSocket itself are
 * hidden from a page, so the protocol has an action for it. Any frame proves that the other side lives.
 */
export class Liveness {
  #cancel = (): void => {};

  constructor(readonly clock: Clock, readonly ping: () => void, readonly dead: () => void) {}

  /** Something came. */
  heard(): void {
    this.#cancel();
    this.#cancel = this.clock.after(QUIET, () => this.ask());
  }

  /** Asks now, for one: after a laptop slept. */
  ask(): void {
    this.#cancel();
    this.#cancel = this.clock.after(ANSWER_WITHIN, () => this.dead());
    this.ping();
  }

  stop(): void {
    this.#cancel();
  }
}
