import { ParlorError } from "./errors.js";
/** How long after a page that wasn't to be had it is asked for again, in ms. */
const AGAIN = 5_000;
/** Fills the gaps of rooms: asks for the messages after the last one that is known until there are no more. */
export class Filler {
    clock;
    page;
    #busy = new Set();
    /** `page` asks for the messages after a number, and takes them into the room. */
    constructor(clock, page) {
        this.clock = clock;
        this.page = page;
    }
    /** Does nothing where there is no gap, or it is being filled. */
    fill(room) {
        if (!room.behind || this.#busy.has(room))
            return;
        this.#busy.add(room);
        void this.#run(room);
    }
    async #run(room) {
        let again;
        try {
            while (room.behind) {
                const { last } = room;
                await this.page(room, last);
                // A server that says there is more, and has nothing, isn't asked on and on.
                if (room.last === last)
                    break;
            }
        }
        catch (error) {
            // The next connection, and the next message of the room, come back to a gap by themselves.
            const { code, retryAfterMs } = error instanceof ParlorError ? error : { code: "", retryAfterMs: undefined };
            if (code !== "disconnected" && code !== "not_found")
                again = retryAfterMs ?? AGAIN;
        }
        this.#busy.delete(room);
        if (again !== undefined)
            this.clock.after(again, () => this.fill(room));
    }
}
