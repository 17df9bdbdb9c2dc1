import { Window } from "./window.js";
/** In their order; a status never goes back. */
const STATUSES = ["send", "delivered", "read"];
/** Messages kept of a room that is looked at, and of one that isn't; besides older ones that were asked for. */
const KEPT_OPEN = 2_000;
const KEPT = 200;
/** One room as this client knows it. Its fields are to be read; what changes them is what the server says. */
export class Room {
    id;
    kind;
    name;
    lastActivity;
    members = new Map();
    /** Others' messages after `read`. The count is the server's, and one more for each that has arrived since. */
    unread;
    /** The user is looking at it: what comes is read. */
    open = false;
    #me;
    #window = new Window();
    #askedFor = 0; // older messages, until another room is looked at
    #counted = 0; // the highest message that the server's count takes into account
    constructor(view, me) {
        this.#me = me;
        this.id = view.room_id;
        this.kind = view.kind;
        this.name = view.name;
        this.lastActivity = view.last_activity;
        this.unread = view.unread;
        this.restart(view);
    }
    /** The messages that are known without a hole, oldest first; `history` with `before: room.from` brings older ones. */
    get messages() {
        return this.#window.messages;
    }
    /** What a list of rooms shows. */
    get lastMessage() {
        return this.#window.newest;
    }
    /** The number from which on messages are known; 1: there are no older ones. */
    get from() {
        return this.#window.from;
    }
    /** The number up to which messages are known. */
    get last() {
        return this.#window.last;
    }
    /** There are newer messages, which are being asked for. */
    get behind() {
        return this.#window.behind;
    }
    /** Everything up to this message is read by the user. */
    get read() {
        return this.members.get(this.#me)?.read ?? 0;
    }
    message(id) {
        return this.#window.get(id);
    }
    // --- What the server says: called by Rooms ---
    /** As in a plain start. What was known of it may have changed without a word, so it goes. */
    restart(view) {
        this.members.clear();
        this.describe(view);
        this.unread = view.unread;
        this.#window.restart(view.last_message);
        this.#askedFor = 0;
        this.#counted = view.last_message?.message_id ?? 0;
        this.#settleStatuses();
    }
    /** Name and members, but no message and no count: they have events of their own. */
    describe(view) {
        this.kind = view.kind;
        this.name = view.name;
        if (view.last_activity !== undefined && view.last_activity > this.lastActivity)
            this.lastActivity = view.last_activity;
        const members = view.members.map((member) => {
            const { delivered, read } = this.members.get(member.user_id) ?? member;
            // Marks never fall, and events may have told of higher ones already.
            const marks = { delivered: Math.max(delivered, member.delivered), read: Math.max(read, member.read) };
            return [member.user_id, { ...member, ...marks }];
        });
        this.members = new Map(members);
        this.#settleStatuses();
    }
    /** Each member has come so far at least. True where that was news. */
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
    /** What changed while the client was away. */
    resume(view) {
        const edited = (view.edited ?? []).filter((message) => this.#window.get(message.message_id));
        for (const message of edited)
            this.#window.replace(message);
        const deleted = (view.deleted ?? []).filter((id) => this.#window.delete(id));
        const messages = view.messages ?? [];
        const newest = view.last_message;
        let fresh = [];
        if (this.behind)
            for (const message of messages)
                this.#window.add(message); // behind the gap there was already
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
    /** A message that arrived by itself; undefined where it is known, or waits behind a gap. */
    add(message) {
        const came = this.#window.add(message);
        if (came === "new")
            this.#count(message); // else when it is known, too
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
    /** A message has come so far with everyone but its author; so has all before it. True where that was news. */
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
    /** The user's own mark, and the server's count. True where that was news. */
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
    /** Another one is looked at, and this one needn't hold so much. */
    shrink() {
        this.#askedFor = 0;
        this.#trim();
    }
    asked() {
        return this.#window.asked();
    }
    /** No page came after all. */
    failed() {
        this.#window.answered();
    }
    /** A page of history; `upTo` is what `asked` returned for it. Returns those in it that are newer than all before. */
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
    /** As they are in the window, with their status. */
    #known(messages) {
        return messages.flatMap(({ message_id }) => this.message(message_id) ?? []);
    }
    /** Each status follows from the marks of all members but the author. True where one changed. */
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
