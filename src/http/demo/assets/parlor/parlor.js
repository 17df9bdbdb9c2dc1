import { Calls } from "./calls.js";
import { systemClock } from "./clock.js";
import { Connection } from "./connection.js";
import { Emitter } from "./emitter.js";
import { ParlorError, reasonOf } from "./errors.js";
import { Filler } from "./filler.js";
import { Outbox } from "./outbox.js";
import { Renewal } from "./renewal.js";
import { Rooms } from "./rooms.js";
/** The server passes one on in so long, in ms; more would be said in vain. */
const TYPING_EVERY = 3_000;
/** Later than any room's last activity: the first page of rooms. */
const LATEST = "9999-12-31T23:59:59.999Z";
/** After these errors an action may be tried again, by default in so long, in ms. */
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
    #open = new Set(); // rooms that are looked at, by what was asked for
    #reads = new Map(); // marks that the server hasn't answered yet
    #again = () => { }; // takes back that the two are said again
    #typed = new Map(); // when it was last said
    #finding = false; // a room that wasn't listed
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
    /** Calls the listener for each such event, until the function that this returns is called. */
    on(name, listener) {
        return this.#emitter.on(name, listener);
    }
    /** Connects, and again whenever the connection is lost; at once, where it waits. Call it when the network is back. */
    connect() {
        this.#connection.connect();
    }
    /** Until `connect()`. What wasn't sent stays in the outbox. */
    close() {
        this.#connection.close();
    }
    get connection() {
        return this.#connection.state;
    }
    /** Undefined before the first connection, where it wasn't given. */
    get userId() {
        return this.#userId;
    }
    // --- Rooms ---
    /** Those that are known, the latest activity first. */
    get rooms() {
        return this.#rooms.list();
    }
    room(roomId) {
        return this.#rooms.get(roomId);
    }
    /** Brings the next rooms of the list; false where there are no more. */
    async moreRooms() {
        if (this.#rooms.next)
            await this.#askRooms(this.#rooms.next, true);
        return this.#rooms.hasMore;
    }
    /** From now on the user looks at this room: what is there and what comes is read. Others needn't hold so much. */
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
    /** Everything up to this message is read. Said again after a lost connection, until the server has it. */
    read(roomId, messageId) {
        const room = this.room(roomId);
        // Past the last message it means that one, and must not stand in the way of the next.
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
    /** Asks how far each member of the latest rooms has read: of a group, events tell only what all have read. */
    async refreshMarks() {
        await this.#askRooms({ before: LATEST }, false);
    }
    // --- Messages ---
    /** Sends it, as soon as that is possible and after those before it; it is never lost without a word. */
    send(roomId, text) {
        this.#typed.delete(roomId);
        return this.#outbox.add(roomId, text);
    }
    /** What was sent to a room and isn't acknowledged yet, oldest first; after a reload, too. */
    pending(roomId) {
        return this.#outbox.list(roomId);
    }
    /** Resolves when it is done. A ParlorError `disconnected` or `no_answer` leaves open whether it was. */
    async edit(roomId, messageId, text) {
        await this.#calls.call({ action: "edit", room_id: roomId, message_id: messageId, text });
    }
    /** As `edit`. */
    async delete(roomId, messageId) {
        await this.#calls.call({ action: "delete", room_id: roomId, message_id: messageId });
    }
    /** A page, oldest message first. What touches `room.messages` is in there as well from then on. */
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
        if (resumed && wasIncomplete)
            this.#findStrays(); // the answer didn't come on the connection before
        for (const room of this.rooms)
            this.#filler.fill(room);
        this.#outbox.opened();
    }
    /** What the user looks at and has read: a new connection doesn't know it. */
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
    /** What nobody waits for. */
    #refused(error) {
        this.#emitter.emit("error", error);
        const { action = "", code, retryAfterMs = AGAIN } = error;
        if (!["open", "close", "read"].includes(action) || !PASSING.includes(code))
            return;
        this.#again();
        this.#again = this.#clock.after(retryAfterMs, () => this.#restate());
    }
    /** What an event of a room leaves to be done. */
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
    /** One chat is one user's. With another user's token, messages would go out under the wrong name. */
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
    /** A room that wasn't listed yet has been heard of. It is among the latest now. */
    #findStrays() {
        if (this.#finding)
            return;
        this.#finding = true;
        // Where this fails, the next thing that is heard of such a room tries again.
        this.#askRooms({ before: LATEST }, false).catch(() => { }).finally(() => { this.#finding = false; });
    }
    #look(roomId, open) {
        const room = this.room(roomId);
        // Where it is gone the server says so to whoever speaks of it; where it isn't listed yet, this waits until it is.
        if (!room)
            return;
        room.open = open;
        this.#say({ action: open ? "open" : "close", room_id: roomId });
    }
    /** Without an answer to wait for; what is wrong with it is told as an `error` event. */
    #say(frame) {
        return this.#connection.send(frame);
    }
}
