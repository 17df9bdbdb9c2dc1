import { ParlorError } from "./errors.js";
/** The pause before a failed page is requested again, in ms. */
const AGAIN = 5_000;
/**
 * Fills the gaps in the messages of rooms. A gap is a range of messages that the client has not received, although the
 * client has received or knows of a later message. The filler requests the messages after the last message before the
 * gap, page by page, until the gap is filled.
 */
export class Filler {
    clock;
    page;
    #busy = new Set();
    /** `page` requests the messages after a number, and adds them to the room. */
    constructor(clock, page) {
        this.clock = clock;
        this.page = page;
    }
    /** Starts to fill the room's gap. Does nothing if the room has no gap, or if its gap is already being filled. */
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
                // If a page brings no newer message, stop. Otherwise the loop might never end.
                if (room.last === last)
                    break;
            }
        }
        catch (error) {
            // After `disconnected` and `not_found`, no retry is needed: the next connection or the next message of the room
            // starts the filling again.
            const { code, retryAfterMs } = error instanceof ParlorError ? error : { code: "", retryAfterMs: undefined };
            if (code !== "disconnected" && code !== "not_found")
                again = retryAfterMs ?? AGAIN;
        }
        this.#busy.delete(room);
        if (again !== undefined)
            this.clock.after(again, () => this.fill(room));
    }
}
