import { Window } from "./window.js";
/** The statuses, the lowest first. The status of a message never goes back to a lower status. */
const STATUSES = ["send", "delivered", "read"];
/**
 * The maximum number of messages in memory for a room: `KEPT_OPEN` for an open room, `KEPT` for every other room. Older
 * messages that the application loaded are kept in addition.
 */
const KEPT_OPEN = 2_000;
const KEPT = 200;
/**
 * A room in the state that this client knows. Applications only read the fields. The server's frames change the fields.
 */
export class Room {
    id;
    kind;
    name;
    lastActivity;
    members = new Map();
    /**
     * The number of messages of other users after `read`: the server's last count, plus the messages that arrived since.
     */
    unread;
    /** Whether the user has the room open. New messages then count as read. */
    open = false;
    #me;
    #window = new Window();
    #askedFor = 0; // the number of older messages that the application loaded; 0 again when another room is opened
    #counted = 0; // the number of the last message that the server's unread count includes
    constructor(view, me) {
        this.#me = me;
        this.id = view.room_id;
        this.kind = view.kind;
        this.name = view.name;
        this.lastActivity = view.last_activity;
        this.unread = view.unread;
        this.restart(view);
    }
    /** The known messages without a gap, the oldest first. `history` with `before: room.from` loads older messages. */
    get messages() {
        return this.#window.messages;
    }
    /** The newest known message, for a list of rooms. */
    get lastMessage() {
        return this.#window.newest;
    }
    /** The number of the first known message. 1 means that there are no older messages. */
    get from() {
        return this.#window.from;
    }
    /** The number up to which messages are known. */
    get last() {
        return this.#window.last;
    }
    /** Whether there are newer messages that are not loaded yet. The library loads them by itself. */
    get behind() {
        return this.#window.behind;
    }
    /** The number of the last message that the user has read. */
    get read() {
        return this.members.get(this.#me)?.read ?? 0;
    }
    message(id) {
        return this.#window.get(id);
    }
    // --- Changes by the server's frames: called by Rooms ---
    /**
     * Replaces the state of the room by the state of a first frame that did not resume. The old state is dropped, because
     * the client does not know what has changed since.
     */
    restart(view) {
        this.members.clear();
        this.describe(view);
        this.unread = view.unread;
        this.#window.restart(view.last_message);
        this.#askedFor = 0;
        this.#counted = view.last_message?.message_id ?? 0;
        this.#settleStatuses();
    }
    /**
     * Sets the kind, the name and the members. Messages and the unread count do not change here, because other events
     * report them.
     */
    describe(view) {
        this.kind = view.kind;
        this.name = view.name;
        if (view.last_activity !== undefined && view.last_activity > this.lastActivity)
            this.lastActivity = view.last_activity;
        const members = view.members.map((member) => {
            const { delivered, read } = this.members.get(member.user_id) ?? member;
            // Receipt markers only rise, and events may already have reported higher markers.
            const marks = { delivered: Math.max(delivered, member.delivered), read: Math.max(read, member.read) };
            return [member.user_id, { ...member, ...marks }];
        });
        this.members = new Map(members);
        this.#settleStatuses();
    }
    /** Raises the receipt markers of members to at least these values. Returns true if a marker or a status changed. */
    raise(members) {
        let news = false;
        for (const { user_id, delivered, read } of members) {
            const known = this.members.get(user_id);
            if (!known || (known.delivered >= delivered && known.read >= read))
                continue;
            known.delivered = Math.max(known.delivered, delivered);
            known.read = Math.max(known.read, read);
            news = true;
        }
        return this.#settleStatuses() || news;
    }
    /**
     * Applies the changes that the client missed while it was disconnected. Returns the new, edited and deleted messages.
     */
    resume(view) {
        const edited = (view.edited ?? []).filter((message) => this.#window.get(message.message_id));
        for (const message of edited)
            this.#window.replace(message);
        const deleted = (view.deleted ?? []).filter((id) => this.#window.delete(id));
        const messages = view.messages ?? [];
        const newest = view.last_message;
        let fresh = [];
        // If there is already a gap before these messages, they wait until the gap is filled.
        if (this.behind)
            for (const message of messages)
                this.#window.add(message);
        else
            fresh = this.#window.append(messages);
        if (view.has_more && newest) {
            this.#window.behind = true;
            this.#window.add(newest);
        }
        this.unread = view.unread;
        this.#counted = Math.max(this.#counted, newest?.message_id ?? 0, this.last);
        this.describe(view);
        return { fresh: this.#known(fresh), edited: this.#known(edited), deleted };
    }
    /**
     * Adds a message that arrived as an event, and returns it. Undefined if the message is known, or waits behind a gap.
     */
    add(message) {
        const came = this.#window.add(message);
        if (came === "new")
            this.#count(message); // a message behind a gap is counted when the gap is filled
        if (message.created_at > this.lastActivity)
            this.lastActivity = message.created_at;
        this.#settleStatuses();
        this.#trim();
        return came === "new" ? this.message(message.message_id) : undefined;
    }
    edit(id, text) {
        if (this.message(id)?.text === text)
            return undefined;
        return this.#window.edit(id, text);
    }
    delete(id) {
        return this.#window.delete(id);
    }
    /**
     * Applies a new status of a message: all members except the message's sender have received or read all messages up to
     * this message. Returns true if a marker or a status changed.
     */
    mark({ message_id: id, sender_id: author, status }) {
        let news = false;
        for (const member of this.members.values()) {
            if (member.user_id === author || status === "send")
                continue;
            if (member.delivered < id) {
                member.delivered = id;
                news = true;
            }
            if (status === "read" && member.read < id) {
                member.read = id;
                news = true;
            }
        }
        const known = this.message(id);
        if (known && rank(status) > rank(known.status)) {
            this.#window.replace({ ...known, status });
            news = true;
        }
        return this.#settleStatuses() || news;
    }
    /** Sets the server's unread count and the user's own read marker. Returns true if one of them changed. */
    recount(unread, read) {
        const me = this.members.get(this.#me);
        const news = unread !== this.unread || read > this.read;
        this.unread = unread;
        this.#counted = Math.max(this.#counted, this.last, this.lastMessage?.message_id ?? 0);
        if (me) {
            me.read = Math.max(me.read, read);
            me.delivered = Math.max(me.delivered, read);
        }
        this.#settleStatuses();
        return news;
    }
    /** Drops older messages from memory, because another room was opened. */
    shrink() {
        this.#askedFor = 0;
        this.#trim();
    }
    asked() {
        return this.#window.asked();
    }
    /** Records that a requested page failed. */
    failed() {
        this.#window.answered();
    }
    /**
     * Adds a page of history. `upTo` is the value that `asked` returned for this page. Returns the messages that are
     * newer than all messages known before.
     */
    page(page, messages, hasMore, upTo) {
        const { last, from } = this;
        const fresh = this.#window.merge(page, messages, hasMore, upTo).filter(({ message_id }) => message_id > last);
        this.#window.answered();
        if (this.from < from)
            this.#askedFor += messages.length;
        for (const message of fresh)
            this.#count(message);
        this.#settleStatuses();
        return this.#known(fresh);
    }
    // --- Inside ---
    #trim() {
        this.#window.trim((this.open ? KEPT_OPEN : KEPT) + this.#askedFor);
    }
    #count({ message_id: id, sender_id: author }) {
        if (id > this.#counted && author !== this.#me && !this.open)
            this.unread++;
    }
    /**
     * Returns the copies of these messages in the `Window`, which have the current status. Leaves out messages that the
     * `Window` no longer has.
     */
    #known(messages) {
        return messages.flatMap(({ message_id }) => this.message(message_id) ?? []);
    }
    /**
     * Computes the status of each message from the receipt markers of all members except the sender. Returns true if a
     * status changed.
     */
    #settleStatuses() {
        const reached = new Map();
        let changed = false;
        this.#window.map((message) => {
            const { sender_id: author, message_id: id } = message;
            const marks = reached.get(author) ?? this.#lowestWithout(author);
            reached.set(author, marks);
            const status = id <= marks.read ? "read" : id <= marks.delivered ? "delivered" : "send";
            if (rank(status) <= rank(message.status))
                return message;
            changed = true;
            return { ...message, status };
        });
        return changed;
    }
    #lowestWithout(author) {
        const others = [...this.members.values()].filter(({ user_id }) => user_id !== author);
        if (others.length === 0)
            return { delivered: 0, read: 0 };
        return {
            delivered: Math.min(...others.map(({ delivered, read }) => Math.max(delivered, read))),
            read: Math.min(...others.map(({ read }) => read)),
        };
    }
}
const rank = (status) => STATUSES.indexOf(status);
