// Level 3 as the client deals with it: the generated types under names for what they are, and what the server's
// description leaves open: that on this socket each event of a room says which, and what is there when it is resumed.

import type {
  AuthAnswerFrame, ChatMessageFrame, CustomFrame, ErrorFrame, HistoryAnswerFrame, HistoryFrame,
  MarkMessageAsDeliveredFrame, MarkMessageAsReadFrame, MessageDeletedFrame, MessageEditedFrame, PingAnswerFrame,
  PresenceFrame, ReadyFrame as PlainReadyFrame, RoomAddedFrame, RoomChangedFrame, RoomRemovedFrame, RoomsAnswerFrame,
  TypingEventFrame, UnreadFrame,
} from "./wire.js";

/** A room as lists of rooms have it. `delivered` and `read` are the caller's own marks. */
export type RoomView = RoomsAnswerFrame["rooms"][number];

/** A member of a room; everything up to its marks is delivered to it, and read by it. */
export type Member = RoomView["members"][number] & {
  /** Since when it isn't online, where that was told. */
  last_seen?: string;
};

/** As the application's tokens have it: an integer, or a string that doesn't look like one. */
export type UserId = Member["user_id"];

/** A message; `sender_email` is there where it came by a list, not where it came by itself. */
export type Message = ChatMessageFrame["message"] & Partial<Pick<ListedMessage, "sender_email">>;

/** As lists of messages have it. */
export type ListedMessage = HistoryAnswerFrame["messages"][number];

/** How far a message has come with all of its other readers. */
export type Status = Message["status"];

/** What `room_changed` tells: no message and no count, for those have events of their own. */
export type RoomChange = Pick<RoomView, "kind" | "name" | "members"> & Partial<Pick<RoomView, "last_activity">>;

/** A room in which something changed while the client was away; the lists are missing where it was `added`. */
export type ResumedRoom = PlainReadyFrame["rooms"][number];

/** A page of the user's rooms. */
export type RoomsPage = Pick<RoomsAnswerFrame, "rooms" | "has_more" | "next">;

/** Where a page of rooms begins: where the one before ended, or before a room. */
export type RoomsFrom = { next: string } | { before: string; before_room?: number };

/** The first frame. */
export type ReadyFrame = Omit<PlainReadyFrame, "resumed" | "rooms" | "room_ids" | "has_more" | "next"> & (
  | ({ resumed: false } & RoomsPage)
  | { resumed: true; rooms: ResumedRoom[]; room_ids: number[] }
);

/** On this socket each event of a room says which. `ref` is there on the socket that caused it. */
type Placed<Frame> = Frame & { room_id: number; ref?: string };

/** What happens in one room. */
export type RoomEvent =
  | Placed<ChatMessageFrame>
  | Placed<MarkMessageAsDeliveredFrame>
  | Placed<MarkMessageAsReadFrame>
  | Placed<MessageEditedFrame>
  | Placed<MessageDeletedFrame>
  | Placed<CustomFrame>
  | Placed<TypingEventFrame>
  | Placed<UnreadFrame>
  | Placed<RoomAddedFrame>
  | Placed<RoomChangedFrame>
  | Placed<RoomRemovedFrame>;

/** All that the server says. */
export type Incoming =
  | ReadyFrame
  | RoomEvent
  | PresenceFrame
  | RoomsAnswerFrame
  | HistoryAnswerFrame
  | AuthAnswerFrame
  | PingAnswerFrame
  | ErrorFrame;

/** Which page of a room's history: before or after a message, or the newest where neither is said. */
export type Page = { before?: number; after?: number; limit?: number };

/** All that a client says; `ref` comes back with the answer. */
export type Action = { ref?: string } & (
  | { action: "send"; room_id: number; message: string; client_id: string }
  | { action: "edit"; room_id: number; message_id: number; text: string }
  | { action: "delete" | "read"; room_id: number; message_id: number }
  | ({ action: HistoryFrame["action"]; room_id: number } & Page)
  | { action: "typing" | "open" | "close"; room_id: number }
  | ({ action: "rooms" } & RoomsFrom)
  | { action: "auth"; token: string }
  | { action: "ping" }
);
