import type { ParlorError } from "./errors.js";

/** A message on its way to the server. */
export class Outgoing {
  /** `queued` for its turn, or for a connection; `sent`: the server has it safe; `failed`: it won't be tried again. */
  state: "queued" | "sending" | "sent" | "failed" = "queued";
  /** Of the message that it became. */
  messageId: number | undefined;
  error: ParlorError | undefined;
  /** Resolves with the message's id once the server has it safe, which may take for ever; rejects where it failed. */
  readonly done: Promise<number>;
  #resolve!: (messageId: number) => void;
  #reject!: (error: ParlorError) => void;

  constructor(
    readonly roomId: number,
    readonly text: string,
    /** By it the server knows a message that is sent again. */
    readonly clientId: string,
    /** Its place among those of its room: the time it was written, in ms since 1970. */
    readonly at: number,
  ) {
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Who looks at `state` instead need not catch this.
    this.done.catch(() => {});
  }

  /** The server has it. */
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
