// The public interface of this library.

export { Parlor, type ParlorOptions } from "./parlor.js";
export type { Clock } from "./clock.js";
export type { ConnectionState } from "./connection.js";
export { type ErrorCode, type LocalCode, ParlorError } from "./errors.js";
export type { Events } from "./events.js";
export type { Member, Message, Page, Status, UserId } from "./level3.js";
export type { Outgoing } from "./outgoing.js";
export type { Room } from "./room.js";
export type { StorageLike } from "./shelf.js";
export type { Socket, SocketClass } from "./socket.js";
export * from "./wire.js";
