/**
 * The largest distance, in message numbers, over which a gap is filled. After a larger gap, the window drops its
 * messages and starts again with the message after the gap.
 */
const WIDEST_GAP = 1_000;
/**
 * The part of a room's messages that is known without a gap: every message from number `from` to number `last` that is
 * not deleted. If a number in this range has no message, the message was deleted. Applying an event twice has the same
 * effect as applying it once. Messages that arrive after a gap wait in `#ahead` until a page of history has filled the
 * gap.
 */
export class Window {
    from = 1;
    last = 0;
    /** Whether there are messages after `last` that are not known yet. */
    behind = false;
    #messages = [];
    #ahead = new Map();
    /**
     * The edits and deletes that arrived while a page was requested: the new text, or null for a delete. The page may be
     * older than these events, so they are also applied to the page.
     */
    #said = new Map();
    #pages = 0;
    /** The known messages without a gap, the oldest first. */
    get messages() {
        return this.#messages;
    }
    /** The newest known message, even if this message is after a gap. */
    get newest() {
        return [...this.#ahead.values()].at(-1) ?? this.#messages.at(-1);
    }
    /** Drops all messages. Afterwards only the room's newest message is known. */
    restart(newest) {
        this.#messages = newest ? [newest] : [];
        this.from = newest?.message_id ?? 1;
        this.last = newest?.message_id ?? 0;
        this.behind = false;
        this.#ahead.clear();
    }
    /**
     * Adds a message that arrived as an event. Returns `new` if the message was added at the end, `known` if it was
     * already known, and `ahead` if it waits after a gap.
     */
    add(message) {
        const id = message.message_id;
        if (id <= this.last || this.#ahead.has(id)) {
            this.#refresh(message);
            return "known";
        }
        if (id - this.last > WIDEST_GAP)
            this.restart(message);
        else if (this.behind || id > this.last + 1) {
            this.behind = true;
            this.#ahead.set(id, message);
            return "ahead";
        }
        else
            this.#push(message);
        return "new";
    }
    /**
     * Adds the messages after `last`. The server has reported all messages. Therefore a missing number is a deleted
     * message, and not a gap. Returns the added messages.
     */
    append(messages) {
        const fresh = messages.filter(({ message_id }) => message_id > this.last);
        for (const message of fresh)
            this.#push(message);
        return fresh;
    }
    /** Changes the text of a message, and returns the changed message. Undefined if the message is not known. */
    edit(id, text) {
        if (this.#pages > 0)
            this.#said.set(id, text);
        const message = this.get(id);
        if (!message)
            return undefined;
        const edited = { ...message, text };
        this.replace(edited);
        return edited;
    }
    delete(id) {
        if (this.#pages > 0)
            this.#said.set(id, null);
        const known = this.get(id) !== undefined;
        this.#ahead.delete(id);
        this.#messages = this.#messages.filter(({ message_id }) => message_id !== id);
        return known;
    }
    get(id) {
        return this.#ahead.get(id) ?? this.#messages.find(({ message_id }) => message_id === id);
    }
    replace(message) {
        const id = message.message_id;
        if (this.#ahead.has(id))
            this.#ahead.set(id, message);
        else
            this.#messages = this.#messages.map((old) => (old.message_id === id ? message : old));
    }
    /** Replaces each known message by the result of `change`. */
    map(change) {
        this.#messages = this.#messages.map(change);
        for (const [id, message] of this.#ahead)
            this.#ahead.set(id, change(message));
    }
    /**
     * Records that a page was requested. Returns the number of the newest known message. If the page reaches the end of
     * the room, the page contains all messages up to this number.
     */
    asked() {
        this.#pages++;
        return this.newest?.message_id ?? this.last;
    }
    /** Records that the requested page arrived or failed. */
    answered() {
        if (--this.#pages === 0)
            this.#said.clear();
    }
    /**
     * Adds a page of history if it is adjacent to the window, and returns the added messages, the oldest first. `upTo` is
     * the value that `asked` returned for this page. If the page fills the gap, the messages that waited after the gap
     * are added, too.
     */
    merge(page, messages, hasMore, upTo) {
        const sorted = page.after === undefined ? [...messages].reverse() : [...messages];
        const [low, high] = range(page, sorted, hasMore, upTo);
        if (low > this.last + 1 || high < this.from - 1)
            return [];
        const told = sorted.flatMap((message) => this.#asSaid(message));
        const older = told.filter(({ message_id }) => message_id < this.from);
        for (const message of told)
            this.#refresh(message);
        const newer = told.filter(({ message_id }) => message_id > this.last);
        newer.push(...this.#unwait(high, newer));
        newer.sort((a, b) => a.message_id - b.message_id);
        this.#messages = [...older, ...this.#messages, ...newer];
        this.from = Math.min(this.from, low);
        this.last = Math.max(this.last, high);
        return [...older, ...newer, ...this.#close(goesToEnd(page, hasMore))];
    }
    /** Drops the oldest messages until `keep` messages are left. */
    trim(keep) {
        const oldest = this.#messages.at(-keep);
        if (!oldest || this.#messages.length <= keep)
            return;
        this.#messages = this.#messages.slice(-keep);
        this.from = oldest.message_id;
    }
    #push(message) {
        this.#messages = [...this.#messages, message];
        this.last = message.message_id;
    }
    /** Removes the waiting messages up to this number. Returns the removed messages that the page does not contain. */
    #unwait(upTo, page) {
        const waited = [...this.#ahead.values()].filter(({ message_id }) => message_id <= upTo);
        for (const { message_id } of waited)
            this.#ahead.delete(message_id);
        return waited.filter(({ message_id }) => !page.some((other) => other.message_id === message_id));
    }
    /**
     * Adds the waiting messages that directly follow `last`, and returns these messages. If another gap follows, the
     * messages after that gap continue to wait.
     */
    #close(toEnd) {
        const fits = [];
        for (const [id, message] of this.#ahead) {
            if (id !== this.last + 1)
                break;
            this.#ahead.delete(id);
            this.#push(message);
            fits.push(message);
        }
        if (toEnd || fits.length > 0)
            this.behind = this.#ahead.size > 0;
        return fits;
    }
    /**
     * Replaces a known message if the given version is newer. `updated_at` says which version is newer, and an edit
     * raises it.
     */
    #refresh(message) {
        const known = this.get(message.message_id);
        if (known && message.updated_at > known.updated_at)
            this.replace(message);
    }
    #asSaid(message) {
        const text = this.#said.get(message.message_id);
        if (text === undefined)
            return [message];
        return text === null ? [] : [{ ...message, text }];
    }
}
/** Returns the range of numbers, first and last, in which the page contains every message. */
function range(page, sorted, hasMore, upTo) {
    const { before, after = 0 } = page;
    const oldest = sorted[0]?.message_id ?? 1;
    const newest = Math.max(after, sorted.at(-1)?.message_id ?? 0, goesToEnd(page, hasMore) ? upTo : 0);
    if (page.after !== undefined)
        return [after + 1, newest];
    return [hasMore ? oldest : 1, before === undefined ? newest : before - 1];
}
/** Returns whether a page reaches the end of the room. */
const goesToEnd = ({ before, after }, hasMore) => before === undefined && (after === undefined || !hasMore);
