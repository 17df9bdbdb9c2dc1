/** A gap of more messages than this isn't filled: the window starts anew behind it. */
const WIDEST_GAP = 1_000;
/**
 * The part of a room's messages that is known without a hole: every message from number `from` to number `last` that
 * isn't deleted. So a number in that range without a message is one that was deleted, and saying anything twice
 * changes nothing. What arrives behind a gap waits in `ahead` until history has filled it.
 */
export class Window {
    from = 1;
    last = 0;
    /** There are messages after `last` that aren't known yet. */
    behind = false;
    #messages = [];
    #ahead = new Map();
    /** What was said of messages while pages were on their way, which may be older than that; null: deleted. */
    #said = new Map();
    #pages = 0;
    /** Oldest first. */
    get messages() {
        return this.#messages;
    }
    /** The newest of all that are known, also behind a gap. */
    get newest() {
        return [...this.#ahead.values()].at(-1) ?? this.#messages.at(-1);
    }
    /** Nothing but the room's newest message is known. */
    restart(newest) {
        this.#messages = newest ? [newest] : [];
        this.from = newest?.message_id ?? 1;
        this.last = newest?.message_id ?? 0;
        this.behind = false;
        this.#ahead.clear();
    }
    /** A message as it arrived by itself: `new` at the end, `known`, or `ahead` of a gap. */
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
    /** Those after the last one, without a gap whatever their numbers: the server says that there are no others. */
    append(messages) {
        const fresh = messages.filter(({ message_id }) => message_id > this.last);
        for (const message of fresh)
            this.#push(message);
        return fresh;
    }
    /** The message as it is then; undefined where it isn't known. */
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
    /** Changes what is known of each message. */
    map(change) {
        this.#messages = this.#messages.map(change);
        for (const [id, message] of this.#ahead)
            this.#ahead.set(id, change(message));
    }
    /** A page is on its way. Returns the number up to which it will know of all messages, where it goes to the end. */
    asked() {
        this.#pages++;
        return this.newest?.message_id ?? this.last;
    }
    /** It came, or won't. */
    answered() {
        if (--this.#pages === 0)
            this.#said.clear();
    }
    /**
     * Takes a page in where it touches the window, and returns what is new with it, oldest first. `upTo` is what `asked`
     * returned for it. Where it goes to the end of the room it closes the gap, and what waited behind it is known, too.
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
    /** Forgets the oldest ones, so that so many are left. */
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
    /** Those that waited up to this number, but for what the page has as well. */
    #unwait(upTo, page) {
        const waited = [...this.#ahead.values()].filter(({ message_id }) => message_id <= upTo);
        for (const { message_id } of waited)
            this.#ahead.delete(message_id);
        return waited.filter(({ message_id }) => !page.some((other) => other.message_id === message_id));
    }
    /** Takes in what waited and now fits; another gap, behind that, stays one. */
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
    /** The same message again, as it was then or as it is now: an edit makes it newer. */
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
/** From which number to which a page says all there is. */
function range(page, sorted, hasMore, upTo) {
    const { before, after = 0 } = page;
    const oldest = sorted[0]?.message_id ?? 1;
    const newest = Math.max(after, sorted.at(-1)?.message_id ?? 0, goesToEnd(page, hasMore) ? upTo : 0);
    if (page.after !== undefined)
        return [after + 1, newest];
    return [hasMore ? oldest : 1, before === undefined ? newest : before - 1];
}
/** Whether it has the room's last message. */
const goesToEnd = ({ before, after }, hasMore) => before === undefined && (after === undefined || !hasMore);
