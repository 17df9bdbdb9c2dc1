import { Room } from "./room.js";
/** Frames kept of rooms that are being asked for, at most; a snapshot that comes later makes up for what is dropped. */
const STRAYS = 1_000;
/** Members of a room of whom a resumed start tells whether they are online, all of them; of a larger one it tells of some. */
const TOLD_WHOLE = 100;
/**
 * All rooms that are known, and the cursor that belongs to just this state: what came before it is in the state, and
 * what came after it isn't. It lives as long as the page; a cursor kept longer than its state would be worth nothing.
 */
export class Rooms {
    cursor = "";
    me;
    /** There are rooms with less recent activity. */
    hasMore = false;
    /** Of these rooms something was heard that isn't known; they are among the latest. */
    #strays = [];
    /** Left since the start: a page of rooms that comes now may have been read before. */
    #left = new Set();
    #rooms = new Map();
    #emitter;
    #oldest; // of what was listed, for the next page
    #next; // the same as the server says it
    constructor(emitter) {
        this.#emitter = emitter;
    }
    /** The latest activity first. */
    list() {
        return [...this.#rooms.values()].sort((a, b) => compare(b.lastActivity, a.lastActivity) || b.id - a.id);
    }
    get(id) {
        return this.#rooms.get(id);
    }
    /** Where the next page of rooms begins. */
    get next() {
        if (!this.hasMore)
            return undefined;
        if (this.#next !== undefined)
            return { next: this.#next };
        // An older server names no next page.
        return this.#oldest && { before: this.#oldest.last_activity, before_room: this.#oldest.room_id };
    }
    /** Whether something was heard of a room that isn't known. */
    get incomplete() {
        return this.#strays.length > 0;
    }
    /** Any frame; what isn't about rooms changes nothing. Applied twice it changes nothing either. */
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
    /** A page of rooms; `isNext` if it goes on from what is listed. */
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
    /** A page of a room's history; only those that are newer than all before are told as messages. */
    history(room, page, messages, hasMore, upTo) {
        const unread = room.unread;
        for (const message of room.page(page, messages, hasMore, upTo))
            this.#emitter.emit("message", { room, message });
        if (room.unread !== unread)
            this.#emitter.emit("unread", { room });
    }
    #ready(frame) {
        this.me = frame.user_id;
        // What rooms are told of from now on is newer than these.
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
     * It is told of the members of the rooms that are listed, and who they are in others is the same; where it is resumed, of
     * all rooms', but of large ones of some.
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
    /** A room that was known stays the same object, so that what a page holds on to stays good. */
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
            // Also one that was left and joined again: what was known of it may have a hole.
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
        // A room further down the list than has been looked. Its next message brings it up; what else happens there waits
        // for that, too, while it is being asked for.
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
// Times are all of one form, so their order is that of their letters.
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
