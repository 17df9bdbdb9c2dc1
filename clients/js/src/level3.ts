// The types of Level 3 (a connection for all rooms). They give the generated types shorter names. They also state two
// facts that the server's description (config/asyncapi.json) leaves open. First, each event of a room has its `room_id`
// on a Level 3 connection. Second, the first frame has other fields if the connection was resumed.

import type {
  AuthAnswerFrame, ChatMessageFrame, CustomFrame, ErrorFrame, HistoryAnswerFrame, HistoryFrame,
  MarkMessageAsDeliveredFrame, MarkMessageAsReadFrame, MessageDeletedFrame, MessageEditedFrame, PingAnswerFrame,
  PresenceFrame, ReadyFrame as PlainReadyFrame, RoomAddedFrame, RoomChangedFrame, RoomRemovedFrame, RoomsAnswerFrame,
  TypingEventFrame, UnreadFrame,
} from "./wire.js";

/**
 * A room in a list of rooms. `delivered` and `read` are the receipt markers of this user. `delivered` is the number of
 * the last message that was delivered to the user. `read` is the number of the last message that the user has read.
 */
export type RoomView = RoomsAnswerFrame["rooms"][number];

/**
 * A member of a room. The fields `delivered` and `read` are the member's receipt markers. All messages up to
 * `delivered` were delivered to the member, and the member has read all messages up to `read`.
 */
export type Member = RoomView["members"][number] & {
  /** When the member went offline, if a presence event has reported this. */
  last_seen?: string;
};

/** The id of a user, as in the application's tokens: an integer, or a string that is not an integer. */
export type UserId = Member["user_id"];

/** A message. `sender_email` is present if the message came in a list, and missing if it came as an event. */
export type Message = ChatMessageFrame["message"] & Partial<Pick<ListedMessage, "sender_email">>;

/** A message in a list of messages. */
export type ListedMessage = HistoryAnswerFrame["messages"][number];

/** The status of a message: the lowest status over all members except the sender. */
export type Status = Message["status"];

/** The data of `room_changed`. It has no last message and no unread count, because other events report them. */
export type RoomChange = Pick<RoomView, "kind" | "name" | "members"> & Partial<Pick<RoomView, "last_activity">>;

/** A room that changed while the client was disconnected. If the room was `added`, it has no lists of changes. */
export type ResumedRoom = PlainReadyFrame["rooms"][number];

/** A page of the user's rooms. */
export type RoomsPage = Pick<RoomsAnswerFrame, "rooms" | "has_more" | "next">;

/**
 * The position at which a page of rooms begins: the `next` of the previous page, or the time of a room's last activity
 * and optionally this room's id.
 */
export type RoomsFrom = { next: string } | { before: string; before_room?: number };

/** The first frame of a connection. */
export type ReadyFrame = Omit<PlainReadyFrame, "resumed" | "rooms" | "room_ids" | "has_more" | "next"> & (
  | ({ resumed: false } & RoomsPage)
  | { resumed: true; rooms: ResumedRoom[]; room_ids: number[] }
);

/**
 * On a Level 3 connection, each event of a room has its `room_id`. `ref` is present only on the socket whose action
 * caused the event.
 */
type Placed<Frame> = Frame & { room_id: number; ref?: string };

/** An event of one room. */
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

/** Any frame that the server sends. */
export type Incoming =
  | ReadyFrame
  | RoomEvent
  | PresenceFrame
  | RoomsAnswerFrame
  | HistoryAnswerFrame
  | AuthAnswerFrame
  | PingAnswerFrame
  | ErrorFrame;

/** A page of a room's history: before or after a message, or the newest messages if neither is given. */
export type Page = { before?: number; after?: number; limit?: number };

/** Any frame that the client sends. The answer has the same `ref`. */
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
