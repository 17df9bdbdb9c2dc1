import type { ParlorError } from "./errors.js";

/** A message that is being sent to the server. */
export class Outgoing {
  /**
   * `queued`: waits for its turn or for a connection. `sending`: waits for the answer. `sent`: the server has stored
   * the message. `failed`: the library will not try again.
   */
  state: "queued" | "sending" | "sent" | "failed" = "queued";
  /** The id of the stored message. Undefined until the state is `sent`. */
  messageId: number | undefined;
  error: ParlorError | undefined;
  /**
   * Resolves with the message's id when the server has stored the message. There is no time limit. Rejects if the state
   * becomes `failed`.
   */
  readonly done: Promise<number>;
  #resolve!: (messageId: number) => void;
  #reject!: (error: ParlorError) => void;

  constructor(
    readonly roomId: number,
    readonly text: string,
    /** The `client_id`, by which the server recognizes a message that is sent again. */
    readonly clientId: string,
    /**
     * The time when the user wrote the message, in ms since 1970. The messages of a room are sent in the order of this
     * time.
     */
    readonly at: number,
  ) {
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // An application that reads `state` instead of `done` need not catch the rejection.
    this.done.catch(() => {});
  }

  /** Sets the state to `sent`, because the server has stored the message. */
  succeed(messageId: number): void {
    this.state = "sent";
    this.messageId = messageId;
    this.#resolve(messageId);
  }

  fail(error: ParlorError): void {
    this.state = "failed";
    this.error = error;
    this.#reject(error);
  }
}
