import { Calls } from "./calls.js";
import { systemClock } from "./clock.js";
import { Connection } from "./connection.js";
import { Emitter } from "./emitter.js";
import { ParlorError, reasonOf } from "./errors.js";
import { Filler } from "./filler.js";
import { Outbox } from "./outbox.js";
import { Renewal } from "./renewal.js";
import { Rooms } from "./rooms.js";
/**
 * The shortest time between two `typing` actions in a room, in ms. The server would drop further `typing` actions of
 * the user within this time.
 */
const TYPING_EVERY = 3_000;
/** A time after any room's last activity. A page of rooms before this time is the first page. */
const LATEST = "9999-12-31T23:59:59.999Z";
/** After these errors, an action may be tried again. `AGAIN` is the default pause before the next try, in ms. */
const PASSING = ["rate_limited", "timeout", "unavailable", "internal"];
const AGAIN = 5_000;
/** A user's chat: one connection for all of the user's rooms. */
export class Parlor {
    #emitter = new Emitter();
    #rooms = new Rooms(this.#emitter);
    #clock;
    #connection;
    #calls;
    #outbox;
    #filler;
    #renewal;
    #open = new Set(); // the rooms that the application has opened
    #reads = new Map(); // per room, the read marker that the server has not confirmed yet
    #again = () => { }; // cancels the timer after which the open rooms and read markers are sent again
    #typed = new Map(); // per room, the time of the last `typing`
    #finding = false; // whether a request for unlisted rooms is running
    #userId;
    constructor(options) {
        const { url, token, storage, random = Math.random, clock = systemClock } = options;
        const WebSocket = options.WebSocket ?? globalThis.WebSocket;
        if (!WebSocket)
            throw new TypeError("there is no WebSocket here: give one as an option");
        const error = (error) => this.#emitter.emit("error", error);
        [this.#clock, this.#userId] = [clock, options.userId];
        this.#connection = new Connection({
            url, token, WebSocket, clock, random, error,
            since: () => this.#rooms.cursor,
            frame: (frame) => this.#heard(frame),
            state: (state) => this.#stateChanged(state),
        });
        this.#calls = new Calls(clock, (frame) => this.#connection.send(frame));
        this.#outbox = new Outbox({
            calls: this.#calls, clock, random, storage, error,
            changed: (outgoing) => this.#emitter.emit("outgoing", outgoing),
        });
        this.#filler = new Filler(clock, (room, after) => this.#page(room, { after, limit: 200 }));
        this.#renewal = new Renewal(clock, () => this.#renew(token), (reason) => {
            error(reason instanceof ParlorError ? reason : new ParlorError("no_token", reasonOf(reason)));
        });
        if (this.#userId !== undefined)
            this.#outbox.belongsTo(this.#userId);
        this.on("roomAdded", ({ room }) => {
            if (this.#open.has(room.id))
                this.#look(room.id, true);
        });
    }
    /** Calls the listener for each event with this name. The returned function removes the listener. */
    on(name, listener) {
        return this.#emitter.on(name, listener);
    }
    /**
     * Connects, and connects again whenever the connection is lost. During a pause, connects immediately. Call this
     * function also when the network is back.
     */
    connect() {
        this.#connection.connect();
    }
    /** Closes the connection until `connect()` is called. Unsent messages stay in the queue. */
    close() {
        this.#connection.close();
    }
    get connection() {
        return this.#connection.state;
    }
    /** The id of the user. Undefined before the first connection, unless the application gave the option `userId`. */
    get userId() {
        return this.#userId;
    }
    // --- Rooms ---
    /** The known rooms, the latest activity first. */
    get rooms() {
        return this.#rooms.list();
    }
    room(roomId) {
        return this.#rooms.get(roomId);
    }
    /** Loads the next page of the user's rooms. Resolves with false if there are no more rooms. */
    async moreRooms() {
        if (this.#rooms.next)
            await this.#askRooms(this.#rooms.next, true);
        return this.#rooms.hasMore;
    }
    /**
     * Tells the server that the user has opened this room: the room's present and new messages count as read. Rooms that
     * are not open keep fewer messages in memory.
     */
    open(roomId) {
        this.#open.add(roomId);
        for (const room of this.rooms)
            if (!this.#open.has(room.id))
                room.shrink();
        this.#look(roomId, true);
    }
    closeRoom(roomId) {
        this.#open.delete(roomId);
        this.#look(roomId, false);
    }
    /**
     * Marks all messages up to this message as read. After a lost connection, the marker is sent again until the server
     * confirms it.
     */
    read(roomId, messageId) {
        const room = this.room(roomId);
        // A number after the last message counts as the last message. Otherwise the library would remember the higher
        // number, and would not send the markers of the next messages.
        const upTo = Math.min(messageId, room?.lastMessage?.message_id ?? messageId);
        if (upTo <= Math.max(this.#reads.get(roomId) ?? 0, room?.read ?? 0))
            return;
        this.#reads.set(roomId, upTo);
        this.#say({ action: "read", room_id: roomId, message_id: upTo });
    }
    /** Call this at each key press. It sends at most one frame in 3 s, and one more after each message. */
    typing(roomId) {
        const now = this.#clock.now();
        if (now - (this.#typed.get(roomId) ?? -Infinity) < TYPING_EVERY)
            return;
        if (this.#say({ action: "typing", room_id: roomId }))
            this.#typed.set(roomId, now);
    }
    /**
     * Requests the receipt markers of each member in the first page of rooms. In a group, events do not report the
     * markers of single members. Events report only when all members have received or read a message.
     */
    async refreshMarks() {
        await this.#askRooms({ before: LATEST }, false);
    }
    // --- Messages ---
    /**
     * Sends a message as soon as possible, after the earlier messages of the room. The returned value reports whether the
     * message was sent or failed.
     */
    send(roomId, text) {
        this.#typed.delete(roomId);
        return this.#outbox.add(roomId, text);
    }
    /**
     * Returns the messages to a room that the server has not acknowledged yet, the oldest first. With a storage, they
     * survive a reload of the page.
     */
    pending(roomId) {
        return this.#outbox.list(roomId);
    }
    /**
     * Edits a message, and resolves when the edit is done. After a ParlorError `disconnected` or `no_answer`, the edit
     * may or may not have been done.
     */
    async edit(roomId, messageId, text) {
        await this.#calls.call({ action: "edit", room_id: roomId, message_id: messageId, text });
    }
    /** Deletes a message. Resolves and rejects as `edit` does. */
    async delete(roomId, messageId) {
        await this.#calls.call({ action: "delete", room_id: roomId, message_id: messageId });
    }
    /**
     * Loads a page of a room's history, the oldest message first. If the page is adjacent to `room.messages`, the library
     * adds the page's messages to `room.messages`.
     */
    async history(roomId, page = {}) {
        const room = this.room(roomId);
        if (!room)
            throw new ParlorError("not_found", "no such room is known", "history");
        return this.#page(room, page);
    }
    // --- Inside ---
    #heard(frame) {
        if (frame.type === "ready" && !this.#isOurs(frame.user_id))
            return;
        const { incomplete } = this.#rooms;
        this.#rooms.apply(frame);
        if (frame.type === "ready")
            this.#ready(frame.resumed, incomplete);
        const answered = this.#calls.settle(frame);
        if (frame.type === "error" && !answered)
            this.#refused(ParlorError.from(frame));
        if ("room_id" in frame && frame.room_id !== undefined)
            this.#after(frame.room_id);
    }
    #ready(resumed, wasIncomplete) {
        this.#emitter.emit("ready", { resumed });
        this.#restate();
        // The last connection was lost before the requested page of rooms arrived.
        if (resumed && wasIncomplete)
            this.#findStrays();
        for (const room of this.rooms)
            this.#filler.fill(room);
        this.#outbox.opened();
    }
    /**
     * Sends the open rooms and the unconfirmed read markers again. The server forgets the open rooms when a connection
     * ends, and the markers may be lost with the connection.
     */
    #restate() {
        for (const roomId of this.#open)
            this.#look(roomId, true);
        for (const [roomId, messageId] of this.#reads) {
            if ((this.room(roomId)?.read ?? 0) >= messageId)
                this.#reads.delete(roomId);
            else
                this.#say({ action: "read", room_id: roomId, message_id: messageId });
        }
    }
    /** Handles an error that no call waits for. */
    #refused(error) {
        this.#emitter.emit("error", error);
        const { action = "", code, retryAfterMs = AGAIN } = error;
        if (!["open", "close", "read"].includes(action) || !PASSING.includes(code))
            return;
        this.#again();
        this.#again = this.#clock.after(retryAfterMs, () => this.#restate());
    }
    /**
     * Completes the handling of a frame about a room. Loads the room if it is unknown. Removes the read marker if the
     * server has confirmed it. Fills a gap in the room's messages.
     */
    #after(roomId) {
        const room = this.room(roomId);
        if (!room && this.#rooms.incomplete)
            this.#findStrays();
        if (!room)
            return;
        room.open = this.#open.has(roomId);
        if (room.read >= (this.#reads.get(roomId) ?? Infinity))
            this.#reads.delete(roomId);
        this.#filler.fill(room);
    }
    #stateChanged(state) {
        if (state.state === "open")
            this.#renewal.start(this.#connection.token);
        else {
            this.#renewal.stop();
            this.#outbox.lost("code" in state ? state.code : 0);
            this.#calls.abandon();
        }
        this.#emitter.emit("connection", state);
    }
    /**
     * Checks that the connection belongs to the same user as before. With another user's token, messages would be sent in
     * the name of the wrong user.
     */
    #isOurs(userId) {
        if (this.#userId === undefined || this.#userId === userId) {
            this.#userId = userId;
            this.#outbox.belongsTo(userId);
            return true;
        }
        this.close();
        this.#emitter.emit("error", new ParlorError("wrong_user", `the token is of ${userId}, not of ${this.#userId}`));
        return false;
    }
    async #renew(token) {
        const next = await token({ refused: false });
        await this.#calls.call({ action: "auth", token: next });
        return next;
    }
    async #page(room, page) {
        const upTo = room.asked();
        let answer;
        try {
            answer = await this.#calls.call({ action: "history", room_id: room.id, ...page });
            if (answer.type !== "history")
                throw new ParlorError("internal", `not a page: ${answer.type}`, "history");
        }
        catch (error) {
            room.failed();
            throw error;
        }
        const { messages, has_more: hasMore } = answer;
        this.#rooms.history(room, page, messages, hasMore, upTo);
        return { messages: page.after === undefined ? [...messages].reverse() : messages, hasMore };
    }
    async #askRooms(from, isNext) {
        const answer = await this.#calls.call({ action: "rooms", ...from });
        if (answer.type !== "rooms")
            throw new ParlorError("internal", `not a list of rooms: ${answer.type}`, "rooms");
        this.#rooms.page(answer, isNext);
    }
    /**
     * Requests the first page of rooms, because an event of an unknown room arrived. That room now has a recent activity,
     * so it is on the first page.
     */
    #findStrays() {
        if (this.#finding)
            return;
        this.#finding = true;
        // If this fails, the next event of an unknown room tries again.
        this.#askRooms({ before: LATEST }, false).catch(() => { }).finally(() => { this.#finding = false; });
    }
    #look(roomId, open) {
        const room = this.room(roomId);
        // If the user has left the room, the server would answer with an error. If the room is not loaded yet, `open` is
        // sent when the room is added.
        if (!room)
            return;
        room.open = open;
        this.#say({ action: open ? "open" : "close", room_id: roomId });
    }
    /** Sends a frame without waiting for an answer. If the server answers with an error, the event `error` reports it. */
    #say(frame) {
        return this.#connection.send(frame);
    }
}
