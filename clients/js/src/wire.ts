// Made by `npm run types` from config/asyncapi.json. Don't edit it here.

/** Replaces the token of the connection before it expires. */
export type AuthFrame = {
  action: "auth";
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  /** The new token. It must belong to the same user as the old token. */
  token: string;
};

/** The new token has replaced the old token. */
export type AuthAnswerFrame = {
  /** The time `exp` of the new token. The server accepts the token 5 s longer. */
  expires_at: string;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "auth";
};

/** A message was written: a majority of the database's members has stored it. */
export type ChatMessageFrame = {
  /** The cursor after this event. Absent on basic connections (Level 1). */
  cursor?: string;
  /** The message, with status `send`. */
  message: {
    /** The time at which the server stored the message, by the clock of the database. */
    created_at: string;
    /** The number of the message in its room. */
    message_id: number;
    /** The author's id. */
    sender_id: number | string;
    /** The status at the time of this frame. */
    status:
      /** The message is stored. */
      | "send"
      /** The message was written to a socket of each other member. */
      | "delivered"
      /** Each other member has read the message. */
      | "read";
    /** The text, exactly as it was sent. */
    text: string;
    /** The time of the last change of the text. */
    updated_at: string;
  };
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "chat_message";
};

/** Says that the user no longer looks at the room. New messages stay unread until the client sends `read` or `open`. */
export type CloseFrame = {
  action: "close";
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** An event that a function of the application has sent. The event is not stored with the messages. */
export type CustomFrame = {
  /** The cursor after this event. Absent on basic connections (Level 1). */
  cursor?: string;
  /** The name of the function's action. */
  name: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "custom";
  [key: string]: unknown;
};

/** Deletes a message. The author of the message may delete it. In a group, each admin may also delete it. */
export type DeleteFrame = {
  action: "delete";
  /** The id of the message to delete. */
  message_id: number | string;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** Replaces the text of the caller's own message. */
export type EditFrame = {
  action: "edit";
  /** The id of the message to edit. */
  message_id: number | string;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  /** The new text. A text equal to the old text is also an edit. */
  text: string;
};

/** The answer to a frame that failed. Only the socket that sent the frame receives it. */
export type ErrorFrame = {
  /** The `action` of the failed frame, cut to 64 characters. Absent if the frame had no `action`. */
  action?: string | null;
  /** The stable code. A client decides by this code what to do. */
  code:
    /** The frame is not JSON, is not an object, or is binary. */
    | "bad_json"
    /** No action has this name, or the frame has no `action`. */
    | "unknown_action"
    /** A field is missing, of the wrong type, or out of range. */
    | "invalid_request"
    /** The message does not exist in this room or is deleted, or the caller is not in the room. */
    | "not_found"
    /** The message belongs to another user. */
    | "not_author"
    /** The new token fails a check, or belongs to another user. */
    | "invalid_token"
    /** The application refused the message. `message` says why. */
    | "rejected"
    /** The user exceeded a rate, or too many calls of this action are running on the server. */
    | "rate_limited"
    /** The action did not end in time. The action may still succeed. The socket then receives the action's event. */
    | "timeout"
    /** The database, or the server of a function or hook, can't be reached. Nothing was written. */
    | "unavailable"
    /** An error of the server. `message` contains an id by which the operator finds the cause in the log. */
    | "internal";
  /** An explanation for people. */
  message: string;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** Only with `rate_limited`: the time that the client should wait before it sends the frame again, in milliseconds. */
  retry_after_ms?: number | null;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "error";
};

/** The first frame of a basic connection (Level 1) */
export type FirstHistoryFrame = {
  /** The time at which the server stored the message, by the clock of the database. */
  created_at: string;
  /** The number of the message in its room. */
  message_id: number;
  /** The author's e-mail address, if the room stores one for the author. */
  sender_email: string | null;
  /** The author's id. */
  sender_id: number | string;
  /** The status at the time of this frame. */
  status:
    /** The message is stored. */
    | "send"
    /** The message was written to a socket of each other member. */
    | "delivered"
    /** Each other member has read the message. */
    | "read";
  /** The text, exactly as it was sent. */
  text: string;
  /** The time of the last change of the text. */
  updated_at: string;
}[];

/** Reads a page of the room's messages that are not deleted. */
export type HistoryFrame = {
  action: "history";
  /** An id: the page has the messages after it, oldest first. With 0, the page starts at the room's first message. */
  after?: number | null;
  /**
   * An id: the page has the messages before it, newest first. Without `before` and `after`, the page has the newest
   * messages.
   */
  before?: number | string | null;
  /** The largest number of messages in the page: 1 to 200, by default 50. */
  limit?: number | null;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** A page of the room's messages. */
export type HistoryAnswerFrame = {
  /**
   * Whether the room has more messages beyond this page: older messages, or newer messages if the request has
   * `after`.
   */
  has_more: boolean;
  /** The messages, newest first. If the request has `after`: oldest first. */
  messages: {
    /** The time at which the server stored the message, by the clock of the database. */
    created_at: string;
    /** The number of the message in its room. */
    message_id: number;
    /** The author's e-mail address, if the room stores one for the author. */
    sender_email: string | null;
    /** The author's id. */
    sender_id: number | string;
    /** The status at the time of this frame. */
    status:
      /** The message is stored. */
      | "send"
      /** The message was written to a socket of each other member. */
      | "delivered"
      /** Each other member has read the message. */
      | "read";
    /** The text, exactly as it was sent. */
    text: string;
    /** The time of the last change of the text. */
    updated_at: string;
  }[];
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "history";
};

/** The message was written to a socket of each other member. */
export type MarkMessageAsDeliveredFrame = {
  /** The cursor after this event. Absent on basic connections (Level 1). */
  cursor?: string;
  /** The message, with status `delivered`. */
  message: {
    /** The time at which the server stored the message, by the clock of the database. */
    created_at: string;
    /** The number of the message in its room. */
    message_id: number;
    /** The author's id. */
    sender_id: number | string;
    /** The status at the time of this frame. */
    status:
      /** The message is stored. */
      | "send"
      /** The message was written to a socket of each other member. */
      | "delivered"
      /** Each other member has read the message. */
      | "read";
    /** The text, exactly as it was sent. */
    text: string;
    /** The time of the last change of the text. */
    updated_at: string;
  };
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "mark_message_as_delivered";
};

/** Each other member has read the message. */
export type MarkMessageAsReadFrame = {
  /** The cursor after this event. Absent on basic connections (Level 1). */
  cursor?: string;
  /** The message, with status `read`. */
  message: {
    /** The time at which the server stored the message, by the clock of the database. */
    created_at: string;
    /** The number of the message in its room. */
    message_id: number;
    /** The author's id. */
    sender_id: number | string;
    /** The status at the time of this frame. */
    status:
      /** The message is stored. */
      | "send"
      /** The message was written to a socket of each other member. */
      | "delivered"
      /** Each other member has read the message. */
      | "read";
    /** The text, exactly as it was sent. */
    text: string;
    /** The time of the last change of the text. */
    updated_at: string;
  };
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "mark_message_as_read";
};

/** A message was deleted. */
export type MessageDeletedFrame = {
  /** The cursor after this event. Absent on basic connections (Level 1). */
  cursor?: string;
  /** The number of the message. */
  message_id: number;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "message_deleted";
};

/** The text of a message changed. */
export type MessageEditedFrame = {
  /** The cursor after this event. Absent on basic connections (Level 1). */
  cursor?: string;
  /** The number of the message. */
  message_id: number;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  /** The new text. */
  text: string;
  type: "message_edited";
};

/**
 * Says that the user looks at the room. All messages of the room become read. Until `close`, new messages become read
 * when this socket receives them.
 */
export type OpenFrame = {
  action: "open";
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** Asks whether the server is alive. This action is for clients that can't see the pings of the WebSocket protocol. */
export type PingFrame = {
  action: "ping";
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** The server is alive. */
export type PingAnswerFrame = {
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "pong";
};

/** A user who shares a room with the caller came online or went offline. */
export type PresenceFrame = {
  /** If offline: the time at which the user's last socket was closed. */
  last_seen?: string;
  /** Whether the user has a socket on any server. */
  online: boolean;
  type: "presence";
  /** The user whose presence changed. */
  user_id: number | string;
};

/** Raises the caller's read marker: all messages up to `message_id` are read. */
export type ReadFrame = {
  action: "read";
  /**
   * The id of the last message that the user has read. An id greater than the id of the room's
   * last message stands for this last message.
   */
  message_id: number | string;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** The first frame of an inbox connection: the caller's rooms. */
export type ReadyFrame = {
  /** The cursor after this frame. */
  cursor: string;
  /** Whether the caller has more rooms than this page. The action `rooms` returns the next page. */
  has_more: boolean;
  /** If `has_more`: the value to send as `next` with the action `rooms`. */
  next?: string;
  /**
   * The users who are online. If resumed: among the members of all rooms of the caller. Otherwise: among the members
   * of `rooms`.
   */
  online: (number | string)[];
  /** Whether `rooms` has all changes since the cursor. If false, `rooms` is the first page of the caller's rooms. */
  resumed: boolean;
  /** If resumed: the ids of all rooms of the caller. The client removes every room that is not in this list. */
  room_ids?: number[];
  /**
   * If resumed: all rooms that changed after the cursor. Otherwise: the first page of the caller's rooms. The
   * room with the latest activity is first.
   */
  rooms: {
    /** True if the caller joined the room after the cursor. The client then loads the messages with `history`. */
    added?: boolean;
    /** The messages that were sent before the cursor and deleted after it. */
    deleted?: number[];
    /** The caller's own delivered marker: all messages up to this number were delivered to the caller. */
    delivered: number;
    /** The messages that were sent before the cursor and edited after it, in their current state. */
    edited?: {
      /** The time at which the server stored the message, by the clock of the database. */
      created_at: string;
      /** The number of the message in its room. */
      message_id: number;
      /** The author's e-mail address, if the room stores one for the author. */
      sender_email: string | null;
      /** The author's id. */
      sender_id: number | string;
      /** The status at the time of this frame. */
      status:
        /** The message is stored. */
        | "send"
        /** The message was written to a socket of each other member. */
        | "delivered"
        /** Each other member has read the message. */
        | "read";
      /** The text, exactly as it was sent. */
      text: string;
      /** The time of the last change of the text. */
      updated_at: string;
    }[];
    /**
     * Whether the room has more messages after the last message in `messages`. The client loads them with the action
     * `history`.
     */
    has_more?: boolean;
    /** Whether the room is a direct room or a group. */
    kind:
      /** A room of exactly two users. Each pair of users has at most one direct room. */
      | "direct"
      /** A room of 1 to 1,000 members. The backend adds and removes members. */
      | "group";
    /**
     * The time of the last message, even if that message is deleted. If the caller joined the room after the last
     * message, the time of joining.
     */
    last_activity: string;
    /** The last message that is not deleted. */
    last_message: {
      /** The time at which the server stored the message, by the clock of the database. */
      created_at: string;
      /** The number of the message in its room. */
      message_id: number;
      /** The author's e-mail address, if the room stores one for the author. */
      sender_email: string | null;
      /** The author's id. */
      sender_id: number | string;
      /** The status at the time of this frame. */
      status:
        /** The message is stored. */
        | "send"
        /** The message was written to a socket of each other member. */
        | "delivered"
        /** Each other member has read the message. */
        | "read";
      /** The text, exactly as it was sent. */
      text: string;
      /** The time of the last change of the text. */
      updated_at: string;
    } | null;
    /** All members, the caller included. */
    members: {
      /** All messages up to this number were written to one of the member's sockets. */
      delivered: number;
      /** The member's e-mail address. Messages of this member show it as `sender_email`. */
      email: string | null;
      /**
       * Whether the member has a socket on any server. In the caller's own entry the value may be wrong, so the
       * client ignores it.
       */
      online: boolean;
      /** The member has read all messages up to this number. */
      read: number;
      /** The member's role. */
      role:
        /** Reads and writes. Both members of a direct room have this role. */
        | "member"
        /** In a group: reads and writes, and may also delete the messages of others. */
        | "admin";
      /** The member's id. */
      user_id: number | string;
    }[];
    /** The messages sent after the cursor, in their current state. The oldest is first. At most 1,000. */
    messages?: {
      /** The time at which the server stored the message, by the clock of the database. */
      created_at: string;
      /** The number of the message in its room. */
      message_id: number;
      /** The author's e-mail address, if the room stores one for the author. */
      sender_email: string | null;
      /** The author's id. */
      sender_id: number | string;
      /** The status at the time of this frame. */
      status:
        /** The message is stored. */
        | "send"
        /** The message was written to a socket of each other member. */
        | "delivered"
        /** Each other member has read the message. */
        | "read";
      /** The text, exactly as it was sent. */
      text: string;
      /** The time of the last change of the text. */
      updated_at: string;
    }[];
    /** The room's name, if it has one. */
    name: string | null;
    /** The caller's own read marker: the caller has read all messages up to this number. */
    read: number;
    /** The room's id. */
    room_id: number;
    /** The number of messages of other users after the caller's read marker. Deleted messages don't count. */
    unread: number;
  }[];
  type: "ready";
  /** The user id of the caller. */
  user_id: number | string;
};

/**
 * The first frame of a resumable connection (Level 2). It has all changes since the client's cursor. If the server
 * can't resume from the cursor, the frame has the room's last messages.
 */
export type ResumedFrame = {
  /** The cursor after this frame. */
  cursor: string;
  /** The ids of messages from before the cursor that were deleted after the cursor. */
  deleted: number[];
  /** Messages from before the cursor whose text changed after the cursor, in their current state. */
  edited: {
    /** The time at which the server stored the message, by the clock of the database. */
    created_at: string;
    /** The number of the message in its room. */
    message_id: number;
    /** The author's e-mail address, if the room stores one for the author. */
    sender_email: string | null;
    /** The author's id. */
    sender_id: number | string;
    /** The status at the time of this frame. */
    status:
      /** The message is stored. */
      | "send"
      /** The message was written to a socket of each other member. */
      | "delivered"
      /** Each other member has read the message. */
      | "read";
    /** The text, exactly as it was sent. */
    text: string;
    /** The time of the last change of the text. */
    updated_at: string;
  }[];
  /**
   * Whether the room has more messages than `messages`. If resumed, newer messages are missing. Otherwise, older
   * messages are missing.
   */
  has_more: boolean;
  /** The receipt markers of every member. The client computes the status of each message from these markers. */
  marks: {
    /** The number of the last message that was written to one of the member's sockets. */
    delivered: number;
    /** The number of the last message that the member has read. */
    read: number;
    /** The member. */
    user_id: number | string;
  }[];
  /** New messages in their current state, oldest first. If not resumed: the room's last messages. */
  messages: {
    /** The time at which the server stored the message, by the clock of the database. */
    created_at: string;
    /** The number of the message in its room. */
    message_id: number;
    /** The author's e-mail address, if the room stores one for the author. */
    sender_email: string | null;
    /** The author's id. */
    sender_id: number | string;
    /** The status at the time of this frame. */
    status:
      /** The message is stored. */
      | "send"
      /** The message was written to a socket of each other member. */
      | "delivered"
      /** Each other member has read the message. */
      | "read";
    /** The text, exactly as it was sent. */
    text: string;
    /** The time of the last change of the text. */
    updated_at: string;
  }[];
  /** Whether the frame has all changes since the cursor. */
  resumed: boolean;
  type: "resumed";
};

/** The caller joined a room. */
export type RoomAddedFrame = {
  /** The cursor after this event. Absent on basic connections (Level 1). */
  cursor?: string;
  /** The room, in the form of a room in `ready`. */
  room: {
    /** The caller's own delivered marker: all messages up to this number were delivered to the caller. */
    delivered: number;
    /** Whether the room is a direct room or a group. */
    kind:
      /** A room of exactly two users. Each pair of users has at most one direct room. */
      | "direct"
      /** A room of 1 to 1,000 members. The backend adds and removes members. */
      | "group";
    /**
     * The time of the last message, even if that message is deleted. If the caller joined the room after the last
     * message, the time of joining.
     */
    last_activity: string;
    /** The last message that is not deleted. */
    last_message: {
      /** The time at which the server stored the message, by the clock of the database. */
      created_at: string;
      /** The number of the message in its room. */
      message_id: number;
      /** The author's e-mail address, if the room stores one for the author. */
      sender_email: string | null;
      /** The author's id. */
      sender_id: number | string;
      /** The status at the time of this frame. */
      status:
        /** The message is stored. */
        | "send"
        /** The message was written to a socket of each other member. */
        | "delivered"
        /** Each other member has read the message. */
        | "read";
      /** The text, exactly as it was sent. */
      text: string;
      /** The time of the last change of the text. */
      updated_at: string;
    } | null;
    /** All members, the caller included. */
    members: {
      /** All messages up to this number were written to one of the member's sockets. */
      delivered: number;
      /** The member's e-mail address. Messages of this member show it as `sender_email`. */
      email: string | null;
      /**
       * Whether the member has a socket on any server. In the caller's own entry the value may be wrong, so the
       * client ignores it.
       */
      online: boolean;
      /** The member has read all messages up to this number. */
      read: number;
      /** The member's role. */
      role:
        /** Reads and writes. Both members of a direct room have this role. */
        | "member"
        /** In a group: reads and writes, and may also delete the messages of others. */
        | "admin";
      /** The member's id. */
      user_id: number | string;
    }[];
    /** The room's name, if it has one. */
    name: string | null;
    /** The caller's own read marker: the caller has read all messages up to this number. */
    read: number;
    /** The room's id. */
    room_id: number;
    /** The number of messages of other users after the caller's read marker. Deleted messages don't count. */
    unread: number;
  };
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "room_added";
};

/** The name or the members of a room changed. */
export type RoomChangedFrame = {
  /** The cursor after this event. Absent on basic connections (Level 1). */
  cursor?: string;
  /** The changed parts of the room in their current state. */
  room: {
    /** Whether the room is a direct room or a group. */
    kind:
      /** A room of exactly two users. Each pair of users has at most one direct room. */
      | "direct"
      /** A room of 1 to 1,000 members. The backend adds and removes members. */
      | "group";
    /** All members, the caller included. */
    members: {
      /** All messages up to this number were written to one of the member's sockets. */
      delivered: number;
      /** The member's e-mail address. Messages of this member show it as `sender_email`. */
      email: string | null;
      /**
       * Whether the member has a socket on any server. In the caller's own entry the value may be wrong, so the
       * client ignores it.
       */
      online: boolean;
      /** The member has read all messages up to this number. */
      read: number;
      /** The member's role. */
      role:
        /** Reads and writes. Both members of a direct room have this role. */
        | "member"
        /** In a group: reads and writes, and may also delete the messages of others. */
        | "admin";
      /** The member's id. */
      user_id: number | string;
    }[];
    /** The room's name, if it has one. */
    name: string | null;
  };
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "room_changed";
};

/** The caller left the room, or the room was deleted. */
export type RoomRemovedFrame = {
  /** The cursor after this event. Absent on basic connections (Level 1). */
  cursor?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "room_removed";
};

/** Reads a page of the caller's rooms. */
export type RoomsFrame = {
  action: "rooms";
  /**
   * Instead of `next`: the `last_activity` of the last room that the client has received. The page may repeat rooms
   * with exactly this `last_activity`.
   */
  before?: string | null;
  /** With `before`: the id of the last room that the client has received. With this id, the page repeats no room. */
  before_room?: number | null;
  /**
   * The `next` of the frame `ready` or of the previous page, unchanged. Without `next` and `before`, the page has
   * the rooms with the latest activity.
   */
  next?: string | null;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** A page of the caller's rooms. */
export type RoomsAnswerFrame = {
  /** Whether there are more rooms. */
  has_more: boolean;
  /** If there are more rooms: the value to send as `next` to read the next page. */
  next?: string;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  /** The rooms. The room with the latest activity is first. */
  rooms: {
    /** The caller's own delivered marker: all messages up to this number were delivered to the caller. */
    delivered: number;
    /** Whether the room is a direct room or a group. */
    kind:
      /** A room of exactly two users. Each pair of users has at most one direct room. */
      | "direct"
      /** A room of 1 to 1,000 members. The backend adds and removes members. */
      | "group";
    /**
     * The time of the last message, even if that message is deleted. If the caller joined the room after the last
     * message, the time of joining.
     */
    last_activity: string;
    /** The last message that is not deleted. */
    last_message: {
      /** The time at which the server stored the message, by the clock of the database. */
      created_at: string;
      /** The number of the message in its room. */
      message_id: number;
      /** The author's e-mail address, if the room stores one for the author. */
      sender_email: string | null;
      /** The author's id. */
      sender_id: number | string;
      /** The status at the time of this frame. */
      status:
        /** The message is stored. */
        | "send"
        /** The message was written to a socket of each other member. */
        | "delivered"
        /** Each other member has read the message. */
        | "read";
      /** The text, exactly as it was sent. */
      text: string;
      /** The time of the last change of the text. */
      updated_at: string;
    } | null;
    /** All members, the caller included. */
    members: {
      /** All messages up to this number were written to one of the member's sockets. */
      delivered: number;
      /** The member's e-mail address. Messages of this member show it as `sender_email`. */
      email: string | null;
      /**
       * Whether the member has a socket on any server. In the caller's own entry the value may be wrong, so the
       * client ignores it.
       */
      online: boolean;
      /** The member has read all messages up to this number. */
      read: number;
      /** The member's role. */
      role:
        /** Reads and writes. Both members of a direct room have this role. */
        | "member"
        /** In a group: reads and writes, and may also delete the messages of others. */
        | "admin";
      /** The member's id. */
      user_id: number | string;
    }[];
    /** The room's name, if it has one. */
    name: string | null;
    /** The caller's own read marker: the caller has read all messages up to this number. */
    read: number;
    /** The room's id. */
    room_id: number;
    /** The number of messages of other users after the caller's read marker. Deleted messages don't count. */
    unread: number;
  }[];
  type: "rooms";
};

/** Writes a message in the room. */
export type SendFrame = {
  action: "send";
  /** Makes it safe to send the frame again. The server stores one message for each sender, room and `client_id`. */
  client_id?: string | null;
  /** The text. The server stores it unchanged. */
  message: string;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** The first message that the caller sent with this `client_id`, in its current state. */
export type SendAnswerFrame = {
  /** The message in its current state. */
  message: {
    /** The time at which the server stored the message, by the clock of the database. */
    created_at: string;
    /** The number of the message in its room. */
    message_id: number;
    /** The author's id. */
    sender_id: number | string;
    /** The status at the time of this frame. */
    status:
      /** The message is stored. */
      | "send"
      /** The message was written to a socket of each other member. */
      | "delivered"
      /** Each other member has read the message. */
      | "read";
    /** The text, exactly as it was sent. */
    text: string;
    /** The time of the last change of the text. */
    updated_at: string;
  };
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "chat_message";
} | {
  /** The number of the deleted message. */
  message_id: number;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "message_deleted";
};

/** Notifies the room's other users that the caller is typing. */
export type TypingFrame = {
  action: "typing";
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** Another user is typing. Basic connections (Level 1) don't receive this event. */
export type TypingEventFrame = {
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  /** The user who is typing. */
  sender_id: number | string;
  type: "typing";
};

/** The unread count changed because the caller's read marker rose or a message was deleted. */
export type UnreadFrame = {
  /** The cursor after this event. Absent on basic connections (Level 1). */
  cursor?: string;
  /** The caller's read marker: the caller has read all messages up to this number. */
  read: number;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "unread";
  /** The number of messages of other users after the caller's read marker. */
  unread: number;
};

/** A frame that a client sends. */
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

/** A frame that the server sends. */
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

/** The meaning of each close code that the server sends. */
export const CLOSE_CODES: Readonly<Record<number, string>> = {
  1000: "the client closed the connection, and the server agrees",
  1001: "ping timeout: the client sent nothing and did not answer a ping",
  1002: "the client did not send valid WebSocket frames",
  1007: "a text frame was not UTF-8",
  1009: "a frame over limits.frame_bytes, or a message of more fragments than limits.message_fragments",
  1011: "an internal error of the server",
  1012: "the server is going away: reconnect after a random pause",
  1013: "the server can't serve this connection now, because the database or the issuer of the token's key can't be reached, the other user of the room is being erased, or the server is busy: try again later",
  4001: "there is no token, or it fails a check; the user is being erased; later: the token has expired, its key was removed, the rules for tokens were changed, or the application has disconnected the user",
  4003: "the caller is not the token's user, or not a member of the room",
  4004: "the room does not exist, or was deleted",
  4008: "the client reads too slowly",
  4029: "the client went on sending too much after being told so, or the user has too many sockets, connects too often, or makes too many rooms",
  4400: "a parameter is missing, malformed or given twice, or both users are the same",
};
