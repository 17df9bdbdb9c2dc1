import { Room } from "./room.js";
/**
 * The maximum number of events of unknown rooms that are kept until the rooms are loaded. Further events are dropped. A
 * dropped event is no loss, because its room is then loaded in its current state.
 */
const STRAYS = 1_000;
/**
 * For a room with at most this many members, the first frame of a resumed connection lists all online members. For a
 * larger room, the list may not be complete.
 */
const TOLD_WHOLE = 100;
/**
 * All known rooms, and the cursor of exactly this state. The state includes every change before the cursor, and no
 * change after it. The state and the cursor are kept only in memory, and end with the page. A stored cursor without its
 * state would be useless.
 */
export class Rooms {
    cursor = "";
    me;
    /** Whether the user has more rooms, with earlier activity, that are not loaded yet. */
    hasMore = false;
    /**
     * Events of rooms that are not loaded yet. The events show that these rooms are among the rooms with the latest
     * activity.
     */
    #strays = [];
    /**
     * The rooms that the user left during this connection. A page of rooms may still contain a room that the user left,
     * because the server may have read the page earlier.
     */
    #left = new Set();
    #rooms = new Map();
    #emitter;
    #oldest; // the last room of the loaded list, from which the next page begins
    #next; // the `next` that the server sent with the last page
    constructor(emitter) {
        this.#emitter = emitter;
    }
    /** Returns the known rooms, the latest activity first. */
    list() {
        return [...this.#rooms.values()].sort((a, b) => compare(b.lastActivity, a.lastActivity) || b.id - a.id);
    }
    get(id) {
        return this.#rooms.get(id);
    }
    /** The beginning of the next page of rooms. Undefined if there are no more rooms. */
    get next() {
        if (!this.hasMore)
            return undefined;
        if (this.#next !== undefined)
            return { next: this.#next };
        // An older version of the server does not send `next`.
        return this.#oldest && { before: this.#oldest.last_activity, before_room: this.#oldest.room_id };
    }
    /** Whether an event of an unknown room has arrived. */
    get incomplete() {
        return this.#strays.length > 0;
    }
    /**
     * Applies any frame to the rooms. Frames that are not about rooms change nothing. Applying a frame twice has the same
     * effect as applying it once.
     */
    apply(frame) {
        if (frame.type === "ready")
            this.#ready(frame);
        else if (frame.type === "presence")
            this.#presence(frame);
        else if ("room_id" in frame)
            this.#event(frame);
        if ("cursor" in frame && typeof frame.cursor === "string")
            this.cursor = frame.cursor;
    }
    /** Adds a page of rooms. `isNext` tells whether the page continues the loaded list. */
    page({ rooms: views, has_more: hasMore, next }, isNext) {
        if (isNext) {
            this.hasMore = hasMore;
            this.#next = next;
            this.#oldest = views.at(-1) ?? this.#oldest;
        }
        for (const view of views) {
            if (this.#left.has(view.room_id))
                continue;
            const room = this.#rooms.get(view.room_id);
            if (!room)
                this.#add(view);
            else if (room.raise(view.members))
                this.#emitter.emit("marks", { room });
        }
        for (const stray of this.#strays.splice(0))
            if (this.#rooms.has(stray.room_id))
                this.#event(stray);
    }
    /**
     * Adds a page of a room's history. Only messages that are newer than all known messages cause the event `message`.
     */
    history(room, page, messages, hasMore, upTo) {
        const unread = room.unread;
        for (const message of room.page(page, messages, hasMore, upTo))
            this.#emitter.emit("message", { room, message });
        if (room.unread !== unread)
            this.#emitter.emit("unread", { room });
    }
    #ready(frame) {
        this.me = frame.user_id;
        // The kept events are older than this first frame.
        this.#strays.length = 0;
        this.#left.clear();
        if (frame.resumed) {
            const mine = new Set(frame.room_ids);
            for (const id of [...this.#rooms.keys()])
                if (!mine.has(id))
                    this.#remove(id);
            for (const view of frame.rooms)
                this.#resume(view);
        }
        else
            this.#restart(frame);
        this.#presences(frame);
    }
    /**
     * Sets which members are online. The first frame reports for each member of its rooms whether the member is online.
     * A user who is online is online in every room, so this method also updates the same user in other rooms. If the
     * connection was resumed, `online` covers all rooms of the user, but may be incomplete for large rooms.
     */
    #presences({ rooms, online, resumed }) {
        const told = new Map(rooms.flatMap(({ members }) => members).map(({ user_id }) => [user_id, false]));
        for (const userId of online)
            told.set(userId, true);
        for (const room of this.#rooms.values()) {
            const all = resumed && room.members.size <= TOLD_WHOLE;
            for (const member of room.members.values()) {
                member.online = told.get(member.user_id) ?? (all ? false : member.online);
            }
            const me = this.me === undefined ? undefined : room.members.get(this.me);
            if (me)
                me.online = true;
        }
    }
    /**
     * Replaces the list of rooms. A known room stays the same object, so that the references of the application stay
     * valid.
     */
    #restart({ rooms: views, has_more: hasMore, next }) {
        const before = new Map(this.#rooms);
        this.#rooms.clear();
        this.hasMore = hasMore;
        this.#next = next;
        this.#oldest = views.at(-1);
        for (const view of views) {
            const known = before.get(view.room_id);
            known?.restart(view);
            this.#rooms.set(view.room_id, known ?? this.#made(view));
        }
    }
    #resume(view) {
        const room = this.#rooms.get(view.room_id);
        if (!room || view.added) {
            // If the room is known and `added`, the user left and rejoined the room while the client was disconnected. Then
            // the known messages may have a gap, so the state is replaced.
            room?.restart(view);
            return room ? this.#emitter.emit("roomChanged", { room }) : this.#add(view);
        }
        const { fresh, edited, deleted } = room.resume(view);
        for (const message of fresh)
            this.#emitter.emit("message", { room, message });
        for (const message of edited)
            this.#emitter.emit("edited", { room, message });
        for (const messageId of deleted)
            this.#emitter.emit("deleted", { room, messageId });
        this.#emitter.emit("marks", { room });
        this.#emitter.emit("unread", { room });
        this.#emitter.emit("roomChanged", { room });
    }
    #event(frame) {
        if (frame.type === "room_added") {
            this.#left.delete(frame.room_id);
            return this.#add(frame.room);
        }
        if (frame.type === "room_removed")
            this.#left.add(frame.room_id);
        const room = this.#rooms.get(frame.room_id);
        // The room is not loaded yet, because it is on a later page of the list. A message or a change of the room makes
        // the library load the room. Until the room is loaded, its events are kept.
        if (!room) {
            const news = frame.type === "chat_message" || frame.type === "room_changed" || this.incomplete;
            if (news && this.#strays.length < STRAYS)
                this.#strays.push(frame);
            return;
        }
        const emitter = this.#emitter;
        switch (frame.type) {
            case "chat_message": {
                const { unread } = room;
                const message = room.add(frame.message);
                if (message)
                    emitter.emit("message", { room, message });
                if (room.unread !== unread)
                    emitter.emit("unread", { room });
                return;
            }
            case "mark_message_as_delivered":
            case "mark_message_as_read":
                if (room.mark(frame.message))
                    emitter.emit("marks", { room });
                return;
            case "message_edited": {
                const message = room.edit(frame.message_id, frame.text);
                if (message)
                    emitter.emit("edited", { room, message });
                return;
            }
            case "message_deleted":
                if (room.delete(frame.message_id))
                    emitter.emit("deleted", { room, messageId: frame.message_id });
                return;
            case "unread":
                if (room.recount(frame.unread, frame.read))
                    emitter.emit("unread", { room });
                return;
            case "typing":
                return emitter.emit("typing", { room, userId: frame.sender_id });
            case "custom":
                return emitter.emit("custom", { room, frame });
            case "room_changed":
                room.describe(frame.room);
                return emitter.emit("roomChanged", { room });
            case "room_removed":
                return this.#remove(frame.room_id);
        }
    }
    #presence({ user_id: userId, online, last_seen }) {
        const lastSeen = last_seen ?? undefined;
        for (const room of this.#rooms.values()) {
            const member = room.members.get(userId);
            if (!member)
                continue;
            member.online = online;
            if (lastSeen !== undefined)
                member.last_seen = lastSeen;
        }
        this.#emitter.emit("presence", { userId, online, lastSeen });
    }
    #add(view) {
        if (this.#rooms.has(view.room_id))
            return;
        const room = this.#made(view);
        this.#rooms.set(room.id, room);
        this.#emitter.emit("roomAdded", { room });
    }
    #remove(id) {
        const room = this.#rooms.get(id);
        if (room && this.#rooms.delete(id))
            this.#emitter.emit("roomRemoved", { room });
    }
    #made(view) {
        if (this.me === undefined)
            throw new Error("rooms before the frame that says whose");
        return new Room(view, this.me);
    }
}
// All times have the same text format, so comparing the texts compares the times.
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
