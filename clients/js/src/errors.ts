import type { ErrorFrame } from "./wire.js";

/**
 * What goes wrong on this side of the socket.
 * - `disconnected`: there is no connection, or it was lost before the answer came; it may have been done or not.
 * - `no_answer`: none came in time; it may have been done or not.
 * - `no_token`: `token()` failed; it is asked again later.
 * - `cannot_connect`: there is no such URL, or the token is none that can be sent.
 * - `wrong_user`: the new token is another user's than the one before; the client closes itself.
 * - `too_large`: a message is over the size of a frame.
 * - `storage`: what was to be kept can't be, so that it would not outlive the page.
 * - `closed`: the server closed the socket in a way that connecting again wouldn't change.
 */
export type LocalCode =
  | "disconnected" | "no_answer" | "no_token" | "cannot_connect" | "wrong_user" | "too_large" | "storage" | "closed";

/** What to branch on. A later server may have more of them. */
export type ErrorCode = ErrorFrame["code"] | LocalCode | (string & {});

/** All that this library rejects with and reports. */
export class ParlorError extends Error {
  override readonly name = "ParlorError";

  constructor(
    readonly code: ErrorCode,
    message: string,
    /** The action that failed, where there was one. */
    readonly action?: string,
    /** With `rate_limited`: in how many ms it would pass. */
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }

  static from(frame: ErrorFrame): ParlorError {
    return new ParlorError(frame.code, frame.message, frame.action ?? undefined, frame.retry_after_ms ?? undefined);
  }
}

/** Why, in words, whatever was thrown. */
export const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
