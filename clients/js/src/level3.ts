// What the server says and hears at Level 3, as far as config/asyncapi.json, and so wire.ts, doesn't have it yet.
// To be dropped for the generated types once it does.

import type {
  AuthAnswerFrame, ChatMessageFrame, CustomFrame, ErrorFrame, FirstHistoryFrame, HistoryAnswerFrame,
  MarkMessageAsDeliveredFrame, MarkMessageAsReadFrame, MessageDeletedFrame, MessageEditedFrame, PingAnswerFrame,
} from "./wire.js";

/** As the application's tokens have it: an integer, or a string that doesn't look like one. */
export type UserId = number | string;

/** A message; `sender_email` is there where it came by a list, not where it came by itself. */
export type Message = ChatMessageFrame["message"] & Partial<Pick<FirstHistoryFrame[number], "sender_email">>;

/** How far a message has come with all of its other readers. */
export type Status = Message["status"];

/** A member of a room; everything up to its marks is delivered to it, and read by it. */
export type Member = {
  user_id: UserId;
  email: string | null;
  role: "member" | "admin";
  delivered: number;
  read: number;
  online: boolean;
  last_seen?: string;
};

/** A room as lists of rooms have it. `delivered` and `read` are the caller's own marks. */
export type RoomView = {
  room_id: number;
  kind: "direct" | "group";
  name: string | null;
  last_activity: string;
  /** All, the caller included. */
  members: Member[];
  last_message: Message | null;
  unread: number;
  delivered: number;
  read: number;
};

/** A room in which something changed while the client was away; the lists are missing where it was `added`. */
export type ResumedRoom = RoomView & {
  added?: boolean;
  /** New ones, oldest first. */
  messages?: Message[];
  /** Older ones, as they are now. */
  edited?: Message[];
  /** Older ones. */
  deleted?: number[];
  /** More new ones than `messages`, by history after the last of them. */
  has_more?: boolean;
};

/** The first frame. */
export type ReadyFrame = {
  type: "ready";
  user_id: UserId;
  cursor: string;
  /** Who is online of those who share a room with the caller. */
  online: UserId[];
} & (
  | { resumed: false; has_more: boolean; rooms: RoomView[] }
  | { resumed: true; rooms: ResumedRoom[]; removed?: number[] }
);

/** What every event of a room has besides. `ref` is there on the socket that caused it. */
type Placed = { room_id: number; cursor?: string; ref?: string };
type Reply = { ref?: string };

export type TypingEvent = { type: "typing"; room_id: number; sender_id: UserId };
export type UnreadEvent = { type: "unread"; room_id: number; unread: number; read: number; cursor?: string };
export type PresenceEvent = { type: "presence"; user_id: UserId; online: boolean; last_seen?: string };
export type RoomsAnswer = { type: "rooms"; rooms: RoomView[]; has_more: boolean } & Reply;

/** What happens in one room. */
export type RoomEvent =
  | (ChatMessageFrame & Placed)
  | (MarkMessageAsDeliveredFrame & Placed)
  | (MarkMessageAsReadFrame & Placed)
  | (MessageEditedFrame & Placed)
  | (MessageDeletedFrame & Placed)
  | (CustomFrame & Placed)
  | TypingEvent
  | UnreadEvent
  | ({ type: "room_added"; room: RoomView } & Placed)
  | ({ type: "room_changed"; room: RoomView } & Placed)
  | ({ type: "room_removed" } & Placed);

/** All that the server says. */
export type Incoming =
  | ReadyFrame
  | RoomEvent
  | PresenceEvent
  | RoomsAnswer
  | (HistoryAnswerFrame & Reply)
  | (AuthAnswerFrame & Reply)
  | (PingAnswerFrame & Reply)
  | (ErrorFrame & Reply);

/** Which page of a room's history: before or after a message, or the newest where neither is said. */
export type Page = { before?: number; after?: number; limit?: number };

/** All that a client says; `ref` comes back with the answer. */
export type Action = { ref?: string } & (
  | { action: "send"; room_id: number; message: string; client_id: string }
  | { action: "edit"; room_id: number; message_id: number; text: string }
  | { action: "delete" | "read"; room_id: number; message_id: number }
  | ({ action: "history"; room_id: number } & Page)
  | { action: "typing" | "open" | "close"; room_id: number }
  | { action: "rooms"; before: string; before_room?: number }
  | { action: "auth"; token: string }
  | { action: "ping" }
);
