import type { ErrorFrame } from "./wire.js";

/**
 * The codes of errors that this library itself detects.
 * - `disconnected`: there is no connection, or it was lost before the answer arrived. The action may have been done.
 * - `no_answer`: no answer arrived in time. The action may have been done.
 * - `no_token`: the application's function `token()` failed. The library calls the function again later.
 * - `cannot_connect`: the URL is invalid, or the token can't be sent as a subprotocol.
 * - `wrong_user`: the new token does not belong to the user of the earlier tokens. The library closes the connection.
 * - `too_large`: a message is larger than the server's limit for a frame.
 * - `storage`: a message could not be stored. It is lost if the page is closed before the message is sent.
 * - `closed`: the server closed the socket. The library does not connect again, or only after a long pause.
 */
export type LocalCode =
  | "disconnected" | "no_answer" | "no_token" | "cannot_connect" | "wrong_user" | "too_large" | "storage" | "closed";

/** The code of an error. A later version of the server may send more codes. */
export type ErrorCode = ErrorFrame["code"] | LocalCode | (string & {});

/** The error with which promises of this library reject, and which the event `error` reports. */
export class ParlorError extends Error {
  override readonly name = "ParlorError";

  constructor(
    readonly code: ErrorCode,
    message: string,
    /** The action that failed, if the error belongs to an action. */
    readonly action?: string,
    /** With `rate_limited`: the time in ms after which the server accepts the action again. */
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }

  static from(frame: ErrorFrame): ParlorError {
    return new ParlorError(frame.code, frame.message, frame.action ?? undefined, frame.retry_after_ms ?? undefined);
  }
}

/** Returns the text of any thrown value. */
export const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
