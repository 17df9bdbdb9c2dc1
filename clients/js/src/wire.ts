// Made by `npm run types` from config/asyncapi.json. Don't edit it here.

/** Replaces the token of the connection before it expires. */
export type AuthFrame = {
  action: "auth";
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  /** A token of the same user. */
  token: string;
};

/** The new token is in force. */
export type AuthAnswerFrame = {
  /** When the token expires, without leeway. */
  expires_at: string;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "auth";
};

/** A message was written: a majority of the database has it. */
export type ChatMessageFrame = {
  /** The cursor after this event. Absent on basic connections (Level 1). */
  cursor?: string;
  /** With status `send`. */
  message: {
    /** The time of sending, by the server's clock. */
    created_at: string;
    /** Its number in the room. */
    message_id: number;
    /** Its author. */
    sender_id: number | string;
    /** Its status. */
    status:
      /** The message is stored. */
      | "send"
      /** The message was written to a socket of each other member. */
      | "delivered"
      /** Each other member has read the message. */
      | "read";
    /** Its text, exactly as it was sent. */
    text: string;
    /** The time of the last change of its text. */
    updated_at: string;
  };
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "chat_message";
};

/** The user no longer looks at the room: new messages stay unread until they are read. */
export type CloseFrame = {
  action: "close";
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** An event of a function of the application. It is not stored. */
export type CustomFrame = {
  /** The cursor after this event. Absent on basic connections (Level 1). */
  cursor?: string;
  /** The function's action. */
  name: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "custom";
  [key: string]: unknown;
};

/** Deletes a message. Its author may do so, and in a group each admin. */
export type DeleteFrame = {
  action: "delete";
  /** The message. */
  message_id: number | string;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** Replaces the text of the caller's own message. */
export type EditFrame = {
  action: "edit";
  /** The message. */
  message_id: number | string;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  /** The new text. The same text again is an edit too. */
  text: string;
};

/** The answer to a frame that can't be done, on its own socket alone. */
export type ErrorFrame = {
  /** The frame's `action`, cut to 64 characters. Absent if the frame had none. */
  action?: string | null;
  /** The stable code: branch on it. */
  code:
    /** The frame is not JSON, is not an object, or is binary. */
    | "bad_json"
    /** No action has this name, or the frame has no `action`. */
    | "unknown_action"
    /** A field is missing, of the wrong type, or out of range. */
    | "invalid_request"
    /** There is no such message in this room, deleted ones included, or the caller is not in the room. */
    | "not_found"
    /** The message is another user's. */
    | "not_author"
    /** The new token fails a check, or is another user's. */
    | "invalid_token"
    /** The application refused the message. `message` is its reason. */
    | "rejected"
    /** Too much in too short a time. */
    | "rate_limited"
    /** The action did not end in time. It may still be done, and its event then follows. */
    | "timeout"
    /** The database, or the server of a function or hook, can't be reached. Nothing was written. */
    | "unavailable"
    /** An error of the server. `message` has an id that is in the server's log. */
    | "internal";
  /** An explanation for people. */
  message: string;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** With `rate_limited`: the time to wait before sending again, in milliseconds. */
  retry_after_ms?: number | null;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "error";
};

/** The first frame of a basic connection (Level 1) */
export type FirstHistoryFrame = {
  /** The time of sending, by the server's clock. */
  created_at: string;
  /** Its number in the room. */
  message_id: number;
  /** The author's address, if the room has one. */
  sender_email: string | null;
  /** Its author. */
  sender_id: number | string;
  /** Its status. */
  status:
    /** The message is stored. */
    | "send"
    /** The message was written to a socket of each other member. */
    | "delivered"
    /** Each other member has read the message. */
    | "read";
  /** Its text, exactly as it was sent. */
  text: string;
  /** The time of the last change of its text. */
  updated_at: string;
}[];

/** Reads a page of the room's messages that are not deleted. */
export type HistoryFrame = {
  action: "history";
  /** The messages after this one, oldest first. 0: from the beginning. */
  after?: number | null;
  /** The messages before this one, newest first. Without this and without `after`: the newest messages. */
  before?: number | string | null;
  /** The largest number of messages: 1 to 200, by default 50. */
  limit?: number | null;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** A page of the room's messages. */
export type HistoryAnswerFrame = {
  /** Whether there are more messages in that direction. */
  has_more: boolean;
  /** Newest first; oldest first for `after`. */
  messages: {
    /** The time of sending, by the server's clock. */
    created_at: string;
    /** Its number in the room. */
    message_id: number;
    /** The author's address, if the room has one. */
    sender_email: string | null;
    /** Its author. */
    sender_id: number | string;
    /** Its status. */
    status:
      /** The message is stored. */
      | "send"
      /** The message was written to a socket of each other member. */
      | "delivered"
      /** Each other member has read the message. */
      | "read";
    /** Its text, exactly as it was sent. */
    text: string;
    /** The time of the last change of its text. */
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
  /** With status `delivered`. */
  message: {
    /** The time of sending, by the server's clock. */
    created_at: string;
    /** Its number in the room. */
    message_id: number;
    /** Its author. */
    sender_id: number | string;
    /** Its status. */
    status:
      /** The message is stored. */
      | "send"
      /** The message was written to a socket of each other member. */
      | "delivered"
      /** Each other member has read the message. */
      | "read";
    /** Its text, exactly as it was sent. */
    text: string;
    /** The time of the last change of its text. */
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
  /** With status `read`. */
  message: {
    /** The time of sending, by the server's clock. */
    created_at: string;
    /** Its number in the room. */
    message_id: number;
    /** Its author. */
    sender_id: number | string;
    /** Its status. */
    status:
      /** The message is stored. */
      | "send"
      /** The message was written to a socket of each other member. */
      | "delivered"
      /** Each other member has read the message. */
      | "read";
    /** Its text, exactly as it was sent. */
    text: string;
    /** The time of the last change of its text. */
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
  /** The message. */
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
  /** The message. */
  message_id: number;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  /** The new text. */
  text: string;
  type: "message_edited";
};

/** The user looks at the room: everything in it becomes read, and so do new messages until `close`. */
export type OpenFrame = {
  action: "open";
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** Asks whether the server is alive, for clients that can't see the pings of the WebSocket protocol. */
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

/** A user who shares a room came online or went offline. */
export type PresenceFrame = {
  /** If offline: when the last socket was closed. */
  last_seen?: string;
  /** Whether the user has a socket on any server. */
  online: boolean;
  type: "presence";
  /** The user. */
  user_id: number | string;
};

/** Raises the caller's read marker: everything up to this message is read. */
export type ReadFrame = {
  action: "read";
  /** The last message that was read. A larger number means the room's last message. */
  message_id: number | string;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** The first frame: the caller's rooms. */
export type ReadyFrame = {
  /** The cursor after this frame. */
  cursor: string;
  /** Whether there are more rooms. The action `rooms` reads them. */
  has_more: boolean;
  /** If there are more rooms: the `next` of the action `rooms`. */
  next?: string;
  /** The users who are online: of the members of these rooms, or, if resumed, of all of the caller's rooms. */
  online: (number | string)[];
  /** Whether `rooms` has all changes since the cursor. Otherwise it is the first page. */
  resumed: boolean;
  /** If resumed: all rooms of the caller. The client drops every other room. */
  room_ids?: number[];
  /** The rooms, the one with the latest activity first: all that changed, or the first page. */
  rooms: {
    /** The caller joined the room after the cursor: load it with `history`. */
    added?: boolean;
    /** Older messages that were deleted. */
    deleted?: number[];
    /** The caller's own delivered marker. */
    delivered: number;
    /** Older messages whose text has changed, as they are now. */
    edited?: {
      /** The time of sending, by the server's clock. */
      created_at: string;
      /** Its number in the room. */
      message_id: number;
      /** The author's address, if the room has one. */
      sender_email: string | null;
      /** Its author. */
      sender_id: number | string;
      /** Its status. */
      status:
        /** The message is stored. */
        | "send"
        /** The message was written to a socket of each other member. */
        | "delivered"
        /** Each other member has read the message. */
        | "read";
      /** Its text, exactly as it was sent. */
      text: string;
      /** The time of the last change of its text. */
      updated_at: string;
    }[];
    /** Whether there are more new messages after these. The action `history` reads them. */
    has_more?: boolean;
    /** Whether it is a direct room or a group. */
    kind:
      /** The only room of its kind for two users. */
      | "direct"
      /** A room whose members may change. */
      | "group";
    /** The time of the last message, deleted or not, or of the caller's joining if that is later. */
    last_activity: string;
    /** The last message that is not deleted. */
    last_message: {
      /** The time of sending, by the server's clock. */
      created_at: string;
      /** Its number in the room. */
      message_id: number;
      /** The author's address, if the room has one. */
      sender_email: string | null;
      /** Its author. */
      sender_id: number | string;
      /** Its status. */
      status:
        /** The message is stored. */
        | "send"
        /** The message was written to a socket of each other member. */
        | "delivered"
        /** Each other member has read the message. */
        | "read";
      /** Its text, exactly as it was sent. */
      text: string;
      /** The time of the last change of its text. */
      updated_at: string;
    } | null;
    /** All members, the caller included. */
    members: {
      /** Everything up to this number was written to one of the member's sockets. */
      delivered: number;
      /** Shown as `sender_email`. */
      email: string | null;
      /** Whether the member has a socket on any server. Ignore it in the caller's own entry. */
      online: boolean;
      /** Everything up to this number was read by the member. */
      read: number;
      /** The member's role. */
      role:
        /** Reads and writes. Both members of a direct room have this role. */
        | "member"
        /** In a group: may also delete the messages of others. */
        | "admin";
      /** The member's id. */
      user_id: number | string;
    }[];
    /** New messages as they are now, oldest first, at most 1,000. */
    messages?: {
      /** The time of sending, by the server's clock. */
      created_at: string;
      /** Its number in the room. */
      message_id: number;
      /** The author's address, if the room has one. */
      sender_email: string | null;
      /** Its author. */
      sender_id: number | string;
      /** Its status. */
      status:
        /** The message is stored. */
        | "send"
        /** The message was written to a socket of each other member. */
        | "delivered"
        /** Each other member has read the message. */
        | "read";
      /** Its text, exactly as it was sent. */
      text: string;
      /** The time of the last change of its text. */
      updated_at: string;
    }[];
    /** Its name, if it has one. */
    name: string | null;
    /** The caller's own read marker. */
    read: number;
    /** Its id. */
    room_id: number;
    /** The number of others' messages after the caller's read marker, without deleted ones. */
    unread: number;
  }[];
  type: "ready";
  /** The caller. */
  user_id: number | string;
};

/**
 * The first frame of a resumable connection (Level 2): all changes since the cursor, or the room's last messages if the
 * cursor can't be resumed.
 */
export type ResumedFrame = {
  /** The cursor after this frame. */
  cursor: string;
  /** Older messages that were deleted. */
  deleted: number[];
  /** Older messages whose text has changed, as they are now. */
  edited: {
    /** The time of sending, by the server's clock. */
    created_at: string;
    /** Its number in the room. */
    message_id: number;
    /** The author's address, if the room has one. */
    sender_email: string | null;
    /** Its author. */
    sender_id: number | string;
    /** Its status. */
    status:
      /** The message is stored. */
      | "send"
      /** The message was written to a socket of each other member. */
      | "delivered"
      /** Each other member has read the message. */
      | "read";
    /** Its text, exactly as it was sent. */
    text: string;
    /** The time of the last change of its text. */
    updated_at: string;
  }[];
  /** Whether there are more messages: after these if resumed, otherwise before them. */
  has_more: boolean;
  /** The markers of every member. Each message's status follows from them. */
  marks: {
    /** The number of the last message that was written to one of the member's sockets. */
    delivered: number;
    /** The number of the last message that the member has read. */
    read: number;
    /** The member. */
    user_id: number | string;
  }[];
  /** New messages as they are now, oldest first. If not resumed: the room's last messages. */
  messages: {
    /** The time of sending, by the server's clock. */
    created_at: string;
    /** Its number in the room. */
    message_id: number;
    /** The author's address, if the room has one. */
    sender_email: string | null;
    /** Its author. */
    sender_id: number | string;
    /** Its status. */
    status:
      /** The message is stored. */
      | "send"
      /** The message was written to a socket of each other member. */
      | "delivered"
      /** Each other member has read the message. */
      | "read";
    /** Its text, exactly as it was sent. */
    text: string;
    /** The time of the last change of its text. */
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
  /** The room as in `ready`. */
  room: {
    /** The caller's own delivered marker. */
    delivered: number;
    /** Whether it is a direct room or a group. */
    kind:
      /** The only room of its kind for two users. */
      | "direct"
      /** A room whose members may change. */
      | "group";
    /** The time of the last message, deleted or not, or of the caller's joining if that is later. */
    last_activity: string;
    /** The last message that is not deleted. */
    last_message: {
      /** The time of sending, by the server's clock. */
      created_at: string;
      /** Its number in the room. */
      message_id: number;
      /** The author's address, if the room has one. */
      sender_email: string | null;
      /** Its author. */
      sender_id: number | string;
      /** Its status. */
      status:
        /** The message is stored. */
        | "send"
        /** The message was written to a socket of each other member. */
        | "delivered"
        /** Each other member has read the message. */
        | "read";
      /** Its text, exactly as it was sent. */
      text: string;
      /** The time of the last change of its text. */
      updated_at: string;
    } | null;
    /** All members, the caller included. */
    members: {
      /** Everything up to this number was written to one of the member's sockets. */
      delivered: number;
      /** Shown as `sender_email`. */
      email: string | null;
      /** Whether the member has a socket on any server. Ignore it in the caller's own entry. */
      online: boolean;
      /** Everything up to this number was read by the member. */
      read: number;
      /** The member's role. */
      role:
        /** Reads and writes. Both members of a direct room have this role. */
        | "member"
        /** In a group: may also delete the messages of others. */
        | "admin";
      /** The member's id. */
      user_id: number | string;
    }[];
    /** Its name, if it has one. */
    name: string | null;
    /** The caller's own read marker. */
    read: number;
    /** Its id. */
    room_id: number;
    /** The number of others' messages after the caller's read marker, without deleted ones. */
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
  /** The room as it is now. */
  room: {
    /** Whether it is a direct room or a group. */
    kind:
      /** The only room of its kind for two users. */
      | "direct"
      /** A room whose members may change. */
      | "group";
    /** All members, the caller included. */
    members: {
      /** Everything up to this number was written to one of the member's sockets. */
      delivered: number;
      /** Shown as `sender_email`. */
      email: string | null;
      /** Whether the member has a socket on any server. Ignore it in the caller's own entry. */
      online: boolean;
      /** Everything up to this number was read by the member. */
      read: number;
      /** The member's role. */
      role:
        /** Reads and writes. Both members of a direct room have this role. */
        | "member"
        /** In a group: may also delete the messages of others. */
        | "admin";
      /** The member's id. */
      user_id: number | string;
    }[];
    /** Its name, if it has one. */
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
  /** Instead of `next`: the `last_activity` of the last room that is known. Rooms of the same millisecond may come again. */
  before?: string | null;
  /** The id of that room: no room comes again. */
  before_room?: number | null;
  /** The `next` of `ready` or of the page before, as it came. Without it and without `before`: the latest rooms. */
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
  /** If there are more rooms: the `next` of the action that reads the next page. */
  next?: string;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  /** The room with the latest activity first. */
  rooms: {
    /** The caller's own delivered marker. */
    delivered: number;
    /** Whether it is a direct room or a group. */
    kind:
      /** The only room of its kind for two users. */
      | "direct"
      /** A room whose members may change. */
      | "group";
    /** The time of the last message, deleted or not, or of the caller's joining if that is later. */
    last_activity: string;
    /** The last message that is not deleted. */
    last_message: {
      /** The time of sending, by the server's clock. */
      created_at: string;
      /** Its number in the room. */
      message_id: number;
      /** The author's address, if the room has one. */
      sender_email: string | null;
      /** Its author. */
      sender_id: number | string;
      /** Its status. */
      status:
        /** The message is stored. */
        | "send"
        /** The message was written to a socket of each other member. */
        | "delivered"
        /** Each other member has read the message. */
        | "read";
      /** Its text, exactly as it was sent. */
      text: string;
      /** The time of the last change of its text. */
      updated_at: string;
    } | null;
    /** All members, the caller included. */
    members: {
      /** Everything up to this number was written to one of the member's sockets. */
      delivered: number;
      /** Shown as `sender_email`. */
      email: string | null;
      /** Whether the member has a socket on any server. Ignore it in the caller's own entry. */
      online: boolean;
      /** Everything up to this number was read by the member. */
      read: number;
      /** The member's role. */
      role:
        /** Reads and writes. Both members of a direct room have this role. */
        | "member"
        /** In a group: may also delete the messages of others. */
        | "admin";
      /** The member's id. */
      user_id: number | string;
    }[];
    /** Its name, if it has one. */
    name: string | null;
    /** The caller's own read marker. */
    read: number;
    /** Its id. */
    room_id: number;
    /** The number of others' messages after the caller's read marker, without deleted ones. */
    unread: number;
  }[];
  type: "rooms";
};

/** Writes a message in the room. */
export type SendFrame = {
  action: "send";
  /** Makes the action safe to repeat: the same value of the same sender in the same room makes no second message. */
  client_id?: string | null;
  /** The text, kept exactly as it came. */
  message: string;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** The message that had this `client_id` first, as it is now. */
export type SendAnswerFrame = {
  /** As it is now. */
  message: {
    /** The time of sending, by the server's clock. */
    created_at: string;
    /** Its number in the room. */
    message_id: number;
    /** Its author. */
    sender_id: number | string;
    /** Its status. */
    status:
      /** The message is stored. */
      | "send"
      /** The message was written to a socket of each other member. */
      | "delivered"
      /** Each other member has read the message. */
      | "read";
    /** Its text, exactly as it was sent. */
    text: string;
    /** The time of the last change of its text. */
    updated_at: string;
  };
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "chat_message";
} | {
  /** The message. */
  message_id: number;
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "message_deleted";
};

/** Tells the room's other users that the caller is typing. */
export type TypingFrame = {
  action: "typing";
  /** The frame's own reference, up to 64 characters. Its reply, error or event carries it back. */
  ref?: string;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
};

/** Another user is typing. Basic connections (Level 1) don't receive it. */
export type TypingEventFrame = {
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  /** The user who is typing. */
  sender_id: number | string;
  type: "typing";
};

/** The caller's read marker, or a delete, changed the unread count. */
export type UnreadFrame = {
  /** The cursor after this event. Absent on basic connections (Level 1). */
  cursor?: string;
  /** The caller's read marker. */
  read: number;
  /** The room, on inbox connections (Level 3). */
  room_id?: number;
  type: "unread";
  /** The number of others' messages after the caller's read marker. */
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
  4001: "there is no token, or it fails a check; the user is being erased; later: the token has expired, its key was removed, or the application has disconnected the user",
  4003: "the caller is not the token's user, or not a member of the room",
  4004: "the room does not exist, or was deleted",
  4008: "the client reads too slowly",
  4029: "the client went on sending too much after being told so, or the user has too many sockets, connects too often, or makes too many rooms",
  4400: "a parameter is missing, malformed or given twice, or both users are the same",
};
