import type { ConnectionState } from "./connection.js";
import type { ParlorError } from "./errors.js";
import type { Message, RoomEvent, UserId } from "./level3.js";
import type { Outgoing } from "./outgoing.js";
import type { Room } from "./room.js";

/** What a Parlor tells, and what its listeners are given. A room is told of after it has changed. */
export interface Events {
  /**
   * There is a connection, and the rooms are as the server has them. After `resumed` each change since the last
   * connection has been told as an event of its own; else look at all rooms anew.
   */
  ready: { resumed: boolean };
  /** A new one, at the end of its room. */
  message: { room: Room; message: Message };
  edited: { room: Room; message: Message };
  deleted: { room: Room; messageId: number };
  /** Members have received or read more, and with that the status of messages may have changed. */
  marks: { room: Room };
  unread: { room: Room };
  typing: { room: Room; userId: UserId };
  presence: { userId: UserId; online: boolean; lastSeen: string | undefined };
  roomAdded: { room: Room };
  /** Its name, its members, or whether it is there at all in the form that was known. */
  roomChanged: { room: Room };
  roomRemoved: { room: Room };
  /** What an action of the application's own tells the room. */
  custom: { room: Room; frame: Extract<RoomEvent, { type: "custom" }> };
  /** A message of this user's has come further, or won't. */
  outgoing: Outgoing;
  connection: ConnectionState;
  /** What no promise tells of. */
  error: ParlorError;
}
