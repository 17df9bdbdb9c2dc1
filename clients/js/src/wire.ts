// Made by `npm run types` from config/asyncapi.json. Don't edit it here.

/** What the frame holds. */
export type AuthFrame = {
  action: "auth";
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  /** A token of the same user. */
  token: string;
};

/** It is in force. */
export type AuthAnswerFrame = {
  /** When it expires, without leeway. */
  expires_at: string;
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "auth";
};

/** A message is safe on a majority of the database. */
export type ChatMessageFrame = {
  /** Not on Level 1 sockets: where to resume from, having this. */
  cursor?: string;
  /** With status `send`. */
  message: {
    /** When it was sent, by the server's clock. */
    created_at: string;
    /** Its number in the room. */
    message_id: number;
    /** Its author. */
    sender_id: number | string;
    /** How far it has come. */
    status:
      /** Stored. */
      | "send"
      /** Written to a socket of each other member. */
      | "delivered"
      /** Read by each other member. */
      | "read";
    /** Its text, as it came. */
    text: string;
    /** When its text last changed. */
    updated_at: string;
  };
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "chat_message";
};

/** What the frame holds: nothing more than which room. */
export type CloseFrame = {
  action: "close";
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
};

/** What an action of the application's own tells the room. It is not stored. */
export type CustomFrame = {
  /** Not on Level 1 sockets: where to resume from, having this. */
  cursor?: string;
  /** The action. */
  name: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "custom";
  [key: string]: unknown;
};

/** What the frame holds. */
export type DeleteFrame = {
  action: "delete";
  /** Which message. */
  message_id: number | string;
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
};

/** What the frame holds. */
export type EditFrame = {
  action: "edit";
  /** Which message. */
  message_id: number | string;
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  /** Its new text; the same one again is an edit too. */
  text: string;
};

/** The answer to a frame that can't be done, for its own socket alone. */
export type ErrorFrame = {
  /** The frame's `action`, cut to 64 characters; left out where there was none. */
  action?: string | null;
  /** What clients branch on. */
  code:
    /** The frame is not JSON, not an object, or binary. */
    | "bad_json"
    /** No handler has the frame's `action`, or it has none. */
    | "unknown_action"
    /** A field is missing, of the wrong type, or out of range. */
    | "invalid_request"
    /** There is no such message in this room; a deleted one counts as none. */
    | "not_found"
    /** Someone else wrote it. */
    | "not_author"
    /** The new token fails a check, or is another user's. */
    | "invalid_token"
    /** The application won't have this message; `message` is its reason. */
    | "rejected"
    /** Too much in too short a time. */
    | "rate_limited"
    /** The handler ran out of time. What it was writing may still come to be, and is then told as an event. */
    | "timeout"
    /** The database, or the server of an action of the application's own, can't be reached; nothing was written. */
    | "unavailable"
    /** A fault of the server, told with an id that is in its log. */
    | "internal";
  /** What they may show. */
  message: string;
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** With `rate_limited`: in how many milliseconds the frame would pass. */
  retry_after_ms?: number | null;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "error";
};

/** The first frame of a Level 1 socket */
export type FirstHistoryFrame = {
  /** When it was sent, by the server's clock. */
  created_at: string;
  /** Its number in the room. */
  message_id: number;
  /** The author's address, where it is known. */
  sender_email: string | null;
  /** Its author. */
  sender_id: number | string;
  /** How far it has come. */
  status:
    /** Stored. */
    | "send"
    /** Written to a socket of each other member. */
    | "delivered"
    /** Read by each other member. */
    | "read";
  /** Its text, as it came. */
  text: string;
  /** When its text last changed. */
  updated_at: string;
}[];

/** What the frame holds. */
export type HistoryFrame = {
  action: "history";
  /** The messages after this one, oldest first; 0: from the beginning. */
  after?: number | null;
  /** The messages before this one, newest first. Without this and `after`: the newest. */
  before?: number | string | null;
  /** How many at most: 1 to 200, by default 50. */
  limit?: number | null;
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
};

/** A page. */
export type HistoryAnswerFrame = {
  /** Whether there are more in that direction. */
  has_more: boolean;
  /** Newest first; oldest first for `after`. */
  messages: {
    /** When it was sent, by the server's clock. */
    created_at: string;
    /** Its number in the room. */
    message_id: number;
    /** The author's address, where it is known. */
    sender_email: string | null;
    /** Its author. */
    sender_id: number | string;
    /** How far it has come. */
    status:
      /** Stored. */
      | "send"
      /** Written to a socket of each other member. */
      | "delivered"
      /** Read by each other member. */
      | "read";
    /** Its text, as it came. */
    text: string;
    /** When its text last changed. */
    updated_at: string;
  }[];
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "history";
};

/** It was written to a socket of each other member. */
export type MarkMessageAsDeliveredFrame = {
  /** Not on Level 1 sockets: where to resume from, having this. */
  cursor?: string;
  /** With status `delivered`. */
  message: {
    /** When it was sent, by the server's clock. */
    created_at: string;
    /** Its number in the room. */
    message_id: number;
    /** Its author. */
    sender_id: number | string;
    /** How far it has come. */
    status:
      /** Stored. */
      | "send"
      /** Written to a socket of each other member. */
      | "delivered"
      /** Read by each other member. */
      | "read";
    /** Its text, as it came. */
    text: string;
    /** When its text last changed. */
    updated_at: string;
  };
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "mark_message_as_delivered";
};

/** Each other member has read it. */
export type MarkMessageAsReadFrame = {
  /** Not on Level 1 sockets: where to resume from, having this. */
  cursor?: string;
  /** With status `read`. */
  message: {
    /** When it was sent, by the server's clock. */
    created_at: string;
    /** Its number in the room. */
    message_id: number;
    /** Its author. */
    sender_id: number | string;
    /** How far it has come. */
    status:
      /** Stored. */
      | "send"
      /** Written to a socket of each other member. */
      | "delivered"
      /** Read by each other member. */
      | "read";
    /** Its text, as it came. */
    text: string;
    /** When its text last changed. */
    updated_at: string;
  };
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "mark_message_as_read";
};

/** It is gone. */
export type MessageDeletedFrame = {
  /** Not on Level 1 sockets: where to resume from, having this. */
  cursor?: string;
  /** Which. */
  message_id: number;
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "message_deleted";
};

/** Its author changed its text. */
export type MessageEditedFrame = {
  /** Not on Level 1 sockets: where to resume from, having this. */
  cursor?: string;
  /** Which. */
  message_id: number;
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  /** The new text. */
  text: string;
  type: "message_edited";
};

/** What the frame holds: nothing more than which room. */
export type OpenFrame = {
  action: "open";
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
};

/** What the frame holds: nothing more. */
export type PingFrame = {
  action: "ping";
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
};

/** It lives. */
export type PingAnswerFrame = {
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "pong";
};

/** Someone who shares a room has come or gone. */
export type PresenceFrame = {
  /** When the last one was closed, where there is none. */
  last_seen?: string;
  /** Whether there is a socket of theirs, on any server. */
  online: boolean;
  type: "presence";
  /** Who. */
  user_id: number | string;
};

/** What the frame holds. */
export type ReadFrame = {
  action: "read";
  /** The last one that was read; past the room's last message it means that one. */
  message_id: number | string;
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
};

/** The first frame: the caller's rooms. */
export type ReadyFrame = {
  /** Where to resume from, having this. */
  cursor: string;
  /** Whether there are more rooms, by `rooms`. */
  has_more: boolean;
  /** Where there are more: what to ask `rooms` for them with. */
  next?: string;
  /** Who is online: of the members of these rooms, or, where it is resumed, of all of the caller's. */
  online: (number | string)[];
  /** Whether this is what changed since the cursor, and not the plain start. */
  resumed: boolean;
  /** Where it is resumed: all rooms that the caller is in. What is known besides has been left, or is gone. */
  room_ids?: number[];
  /** The rooms, the latest first: all in which anything has changed, or the first page. */
  rooms: {
    /** The caller came in since: there is nothing that was missed, but all of it. */
    added?: boolean;
    /** Older ones that have been deleted since. */
    deleted?: number[];
    /** The caller's own marks. */
    delivered: number;
    /** Older ones whose text has changed since, as they are now. */
    edited?: {
      /** When it was sent, by the server's clock. */
      created_at: string;
      /** Its number in the room. */
      message_id: number;
      /** The author's address, where it is known. */
      sender_email: string | null;
      /** Its author. */
      sender_id: number | string;
      /** How far it has come. */
      status:
        /** Stored. */
        | "send"
        /** Written to a socket of each other member. */
        | "delivered"
        /** Read by each other member. */
        | "read";
      /** Its text, as it came. */
      text: string;
      /** When its text last changed. */
      updated_at: string;
    }[];
    /** Whether there are more new messages after these, by `history`. */
    has_more?: boolean;
    /** What it is for. */
    kind:
      /** The one room of two users. */
      | "direct"
      /** Of anyone, who may come and go. */
      | "group";
    /** The last message, deleted or not, or the caller's joining where that was later. */
    last_activity: string;
    /** The last one that is not deleted. */
    last_message: {
      /** When it was sent, by the server's clock. */
      created_at: string;
      /** Its number in the room. */
      message_id: number;
      /** The author's address, where it is known. */
      sender_email: string | null;
      /** Its author. */
      sender_id: number | string;
      /** How far it has come. */
      status:
        /** Stored. */
        | "send"
        /** Written to a socket of each other member. */
        | "delivered"
        /** Read by each other member. */
        | "read";
      /** Its text, as it came. */
      text: string;
      /** When its text last changed. */
      updated_at: string;
    } | null;
    /** Everyone, the caller included. */
    members: {
      /** Everything up to this number was written to one of the member's sockets. */
      delivered: number;
      /** Shown as `sender_email`. */
      email: string | null;
      /** Whether there is a socket of theirs, on any server. */
      online: boolean;
      /** Everything up to this number was read. */
      read: number;
      /** What the member may do beyond writing. */
      role:
        /** Nothing more. Both members of a direct room are this. */
        | "member"
        /** In a group: may delete anyone's messages. */
        | "admin";
      /** Who. */
      user_id: number | string;
    }[];
    /** New messages as they are now, oldest first; at most 1,000. */
    messages?: {
      /** When it was sent, by the server's clock. */
      created_at: string;
      /** Its number in the room. */
      message_id: number;
      /** The author's address, where it is known. */
      sender_email: string | null;
      /** Its author. */
      sender_id: number | string;
      /** How far it has come. */
      status:
        /** Stored. */
        | "send"
        /** Written to a socket of each other member. */
        | "delivered"
        /** Read by each other member. */
        | "read";
      /** Its text, as it came. */
      text: string;
      /** When its text last changed. */
      updated_at: string;
    }[];
    /** Its name, where it has one. */
    name: string | null;
    /** The same. */
    read: number;
    /** Its id. */
    room_id: number;
    /** Others' messages after the caller's read mark, deleted ones not counted. */
    unread: number;
  }[];
  type: "ready";
  /** The caller. */
  user_id: number | string;
};

/**
 * The first frame of a Level 2 socket, instead of the history's array: what changed since its cursor, or, where that
 * is no good, the last messages.
 */
export type ResumedFrame = {
  /** Where to resume from, having this. */
  cursor: string;
  /** Older ones that have been deleted since. */
  deleted: number[];
  /** Older ones whose text has changed since, as they are now. */
  edited: {
    /** When it was sent, by the server's clock. */
    created_at: string;
    /** Its number in the room. */
    message_id: number;
    /** The author's address, where it is known. */
    sender_email: string | null;
    /** Its author. */
    sender_id: number | string;
    /** How far it has come. */
    status:
      /** Stored. */
      | "send"
      /** Written to a socket of each other member. */
      | "delivered"
      /** Read by each other member. */
      | "read";
    /** Its text, as it came. */
    text: string;
    /** When its text last changed. */
    updated_at: string;
  }[];
  /** Whether there are more messages: after these where it is resumed, else before them. */
  has_more: boolean;
  /** Every member's marks, from which each status follows. */
  marks: {
    /** Written to one of the member's sockets. */
    delivered: number;
    /** Read. */
    read: number;
    /** Who. */
    user_id: number | string;
  }[];
  /** New ones as they are now, oldest first; where it isn't resumed, the last ones of the room. */
  messages: {
    /** When it was sent, by the server's clock. */
    created_at: string;
    /** Its number in the room. */
    message_id: number;
    /** The author's address, where it is known. */
    sender_email: string | null;
    /** Its author. */
    sender_id: number | string;
    /** How far it has come. */
    status:
      /** Stored. */
      | "send"
      /** Written to a socket of each other member. */
      | "delivered"
      /** Read by each other member. */
      | "read";
    /** Its text, as it came. */
    text: string;
    /** When its text last changed. */
    updated_at: string;
  }[];
  /** Whether all that changed since the cursor is told. */
  resumed: boolean;
  type: "resumed";
};

/** The caller is in one more room. */
export type RoomAddedFrame = {
  /** Not on Level 1 sockets: where to resume from, having this. */
  cursor?: string;
  /** As in `ready`. */
  room: {
    /** The caller's own marks. */
    delivered: number;
    /** What it is for. */
    kind:
      /** The one room of two users. */
      | "direct"
      /** Of anyone, who may come and go. */
      | "group";
    /** The last message, deleted or not, or the caller's joining where that was later. */
    last_activity: string;
    /** The last one that is not deleted. */
    last_message: {
      /** When it was sent, by the server's clock. */
      created_at: string;
      /** Its number in the room. */
      message_id: number;
      /** The author's address, where it is known. */
      sender_email: string | null;
      /** Its author. */
      sender_id: number | string;
      /** How far it has come. */
      status:
        /** Stored. */
        | "send"
        /** Written to a socket of each other member. */
        | "delivered"
        /** Read by each other member. */
        | "read";
      /** Its text, as it came. */
      text: string;
      /** When its text last changed. */
      updated_at: string;
    } | null;
    /** Everyone, the caller included. */
    members: {
      /** Everything up to this number was written to one of the member's sockets. */
      delivered: number;
      /** Shown as `sender_email`. */
      email: string | null;
      /** Whether there is a socket of theirs, on any server. */
      online: boolean;
      /** Everything up to this number was read. */
      read: number;
      /** What the member may do beyond writing. */
      role:
        /** Nothing more. Both members of a direct room are this. */
        | "member"
        /** In a group: may delete anyone's messages. */
        | "admin";
      /** Who. */
      user_id: number | string;
    }[];
    /** Its name, where it has one. */
    name: string | null;
    /** The same. */
    read: number;
    /** Its id. */
    room_id: number;
    /** Others' messages after the caller's read mark, deleted ones not counted. */
    unread: number;
  };
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "room_added";
};

/** Its name or its members are others now. */
export type RoomChangedFrame = {
  /** Not on Level 1 sockets: where to resume from, having this. */
  cursor?: string;
  /** As it is now. */
  room: {
    /** What it is for. */
    kind:
      /** The one room of two users. */
      | "direct"
      /** Of anyone, who may come and go. */
      | "group";
    /** Everyone, the caller included. */
    members: {
      /** Everything up to this number was written to one of the member's sockets. */
      delivered: number;
      /** Shown as `sender_email`. */
      email: string | null;
      /** Whether there is a socket of theirs, on any server. */
      online: boolean;
      /** Everything up to this number was read. */
      read: number;
      /** What the member may do beyond writing. */
      role:
        /** Nothing more. Both members of a direct room are this. */
        | "member"
        /** In a group: may delete anyone's messages. */
        | "admin";
      /** Who. */
      user_id: number | string;
    }[];
    /** Its name, where it has one. */
    name: string | null;
  };
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "room_changed";
};

/** The caller isn't in it any more, or it is gone. */
export type RoomRemovedFrame = {
  /** Not on Level 1 sockets: where to resume from, having this. */
  cursor?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "room_removed";
};

/** What the frame holds. */
export type RoomsFrame = {
  action: "rooms";
  /** Instead of `next`: the `last_activity` of the last room that is known. Rooms of the same millisecond may come again. */
  before?: string | null;
  /** The id of that room: no room comes again. */
  before_room?: number | null;
  /** The `next` of `ready` or of the page before, as it came. Without it and without `before`: the latest rooms. */
  next?: string | null;
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
};

/** A page. */
export type RoomsAnswerFrame = {
  /** Whether there are more. */
  has_more: boolean;
  /** Where there are more: what to ask for the next page with. */
  next?: string;
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  /** The latest first. */
  rooms: {
    /** The caller's own marks. */
    delivered: number;
    /** What it is for. */
    kind:
      /** The one room of two users. */
      | "direct"
      /** Of anyone, who may come and go. */
      | "group";
    /** The last message, deleted or not, or the caller's joining where that was later. */
    last_activity: string;
    /** The last one that is not deleted. */
    last_message: {
      /** When it was sent, by the server's clock. */
      created_at: string;
      /** Its number in the room. */
      message_id: number;
      /** The author's address, where it is known. */
      sender_email: string | null;
      /** Its author. */
      sender_id: number | string;
      /** How far it has come. */
      status:
        /** Stored. */
        | "send"
        /** Written to a socket of each other member. */
        | "delivered"
        /** Read by each other member. */
        | "read";
      /** Its text, as it came. */
      text: string;
      /** When its text last changed. */
      updated_at: string;
    } | null;
    /** Everyone, the caller included. */
    members: {
      /** Everything up to this number was written to one of the member's sockets. */
      delivered: number;
      /** Shown as `sender_email`. */
      email: string | null;
      /** Whether there is a socket of theirs, on any server. */
      online: boolean;
      /** Everything up to this number was read. */
      read: number;
      /** What the member may do beyond writing. */
      role:
        /** Nothing more. Both members of a direct room are this. */
        | "member"
        /** In a group: may delete anyone's messages. */
        | "admin";
      /** Who. */
      user_id: number | string;
    }[];
    /** Its name, where it has one. */
    name: string | null;
    /** The same. */
    read: number;
    /** Its id. */
    room_id: number;
    /** Others' messages after the caller's read mark, deleted ones not counted. */
    unread: number;
  }[];
  type: "rooms";
};

/** What the frame holds. */
export type SendFrame = {
  action: "send";
  /** The same one again, by the same sender in the same room, makes no second message. */
  client_id?: string | null;
  /** The text, kept exactly as it came. */
  message: string;
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
};

/** What has become of the message that had this `client_id` first. */
export type SendAnswerFrame = {
  /** As it is now. */
  message: {
    /** When it was sent, by the server's clock. */
    created_at: string;
    /** Its number in the room. */
    message_id: number;
    /** Its author. */
    sender_id: number | string;
    /** How far it has come. */
    status:
      /** Stored. */
      | "send"
      /** Written to a socket of each other member. */
      | "delivered"
      /** Read by each other member. */
      | "read";
    /** Its text, as it came. */
    text: string;
    /** When its text last changed. */
    updated_at: string;
  };
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "chat_message";
} | {
  /** Which. */
  message_id: number;
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "message_deleted";
};

/** What the frame holds: nothing more. */
export type TypingFrame = {
  action: "typing";
  /** As the frame had it that this belongs to. */
  ref?: string;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
};

/** Another user is typing. Told to Level 2 sockets alone. */
export type TypingEventFrame = {
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  /** Who. */
  sender_id: number | string;
  type: "typing";
};

/** One of the caller's own marks, or a delete, has changed what is unread. */
export type UnreadFrame = {
  /** Not on Level 1 sockets: where to resume from, having this. */
  cursor?: string;
  /** The mark. */
  read: number;
  /** On sockets of all rooms: in which one. */
  room_id?: number;
  type: "unread";
  /** Others' messages after the caller's read mark. */
  unread: number;
};

/** What a client says. */
export type ClientFrame =
  | AuthFrame
  | CloseFrame
  | DeleteFrame
  | EditFrame
  | HistoryFrame
  | OpenFrame
  | PingFrame
  | ReadFrame
  | RoomsFrame
  | SendFrame
  | TypingFrame;

/** What the server says. */
export type ServerFrame =
  | AuthAnswerFrame
  | ChatMessageFrame
  | CustomFrame
  | ErrorFrame
  | FirstHistoryFrame
  | HistoryAnswerFrame
  | MarkMessageAsDeliveredFrame
  | MarkMessageAsReadFrame
  | MessageDeletedFrame
  | MessageEditedFrame
  | PingAnswerFrame
  | PresenceFrame
  | ReadyFrame
  | ResumedFrame
  | RoomAddedFrame
  | RoomChangedFrame
  | RoomRemovedFrame
  | RoomsAnswerFrame
  | SendAnswerFrame
  | TypingEventFrame
  | UnreadFrame;

/** What it means when the server closes a socket. */
export const CLOSE_CODES: Readonly<Record<number, string>> = {
  1000: "the client closed, and is answered",
  1001: "nothing was heard of the client, also when asked by a ping",
  1002: "what came was not WebSocket",
  1007: "a text frame was not UTF-8",
  1009: "a frame over limits.frame_bytes, or a message of more fragments than limits.message_fragments",
  1011: "an internal error",
  1012: "the server is going away: reconnect after a random pause",
  1013: "room or membership, or the token's key, can't be known now, the other user of the room is being erased, or the server is busy: try again later",
  4001: "no token, or one that fails a check; its user is being erased; later: it has expired, its key was removed, or the application has disconnected its user",
  4003: "not the token's user, or not a member of the room",
  4004: "there is no such room",
  4008: "the socket reads too slowly",
  4029: "it went on after being told that it sends too much, or the user has too many sockets, connects too often, or makes too many rooms",
  4400: "an id is missing or malformed, or both users are the same",
};
