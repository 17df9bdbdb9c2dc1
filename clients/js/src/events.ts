import type { ConnectionState } from "./connection.js";
import type { ParlorError } from "./errors.js";
import type { Message, RoomEvent, UserId } from "./level3.js";
import type { Outgoing } from "./outgoing.js";
import type { Room } from "./room.js";

/**
 * The events of a `Parlor`, and the values that their listeners get. When a listener is called, the room has already
 * changed.
 */
export interface Events {
  /**
   * The connection is open, and the rooms have the server's current state. If `resumed` is true, each change since the
   * last connection was already reported by its own event. Otherwise any room may have changed, so the application must
   * read all rooms again.
   */
  ready: { resumed: boolean };
  /** A new message, at the end of its room. */
  message: { room: Room; message: Message };
  edited: { room: Room; message: Message };
  deleted: { room: Room; messageId: number };
  /** Members have received or read more messages, so the status of messages may have changed. */
  marks: { room: Room };
  unread: { room: Room };
  typing: { room: Room; userId: UserId };
  presence: { userId: UserId; online: boolean; lastSeen: string | undefined };
  roomAdded: { room: Room };
  /** The room's name or members have changed, or its known messages were replaced. */
  roomChanged: { room: Room };
  roomRemoved: { room: Room };
  /** An event that one of the application's own actions sent to the room. */
  custom: { room: Room; frame: Extract<RoomEvent, { type: "custom" }> };
  /** The state of a message that this user sends has changed. */
  outgoing: Outgoing;
  connection: ConnectionState;
  /** An error that no returned promise reports. */
  error: ParlorError;
}
