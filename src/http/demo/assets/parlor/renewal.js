/** How long before its end a token is replaced, in ms; a fifth of its life where that is less. */
const SPARE = 60_000;
/** Replacing is tried no more often than this, in ms, whatever this machine's clock says. */
const LEAST = 5_000;
/** When a token expires and for how long it is good, in ms; undefined for what is no JWT. */
export function lifeOf(token) {
    try {
        const part = token.split(".")[1] ?? "";
        const claims = JSON.parse(atob(part.replaceAll("-", "+").replaceAll("_", "/")));
        if (typeof claims !== "object" || claims === null || !("exp" in claims) || typeof claims.exp !== "number")
            return;
        const issued = "iat" in claims && typeof claims.iat === "number" ? claims.iat : undefined;
        return { expires: claims.exp * 1000, life: issued === undefined ? undefined : (claims.exp - issued) * 1000 };
    }
    catch {
        return undefined;
    }
}
/**
 * Replaces the token of an open connection before it expires, for the server would close it then. Where that fails it
 * tries again; where it fails to the end, the close asks for a new token anyway.
 */
export class Renewal {
    clock;
    renew;
    fail;
    #cancel = () => { };
    #round = 0;
    /** `renew` gets a new token and sends it; it resolves with the one that is in force then. */
    constructor(clock, renew, fail) {
        this.clock = clock;
        this.renew = renew;
        this.fail = fail;
    }
    start(token) {
        this.stop();
        const round = this.#round;
        const wait = this.#wait(token);
        if (wait === undefined)
            return;
        this.#cancel = this.clock.after(wait, async () => {
            let next = token;
            try {
                next = await this.renew();
            }
            catch (error) {
                if (round === this.#round)
                    this.fail(error);
            }
            if (round === this.#round)
                this.start(next);
        });
    }
    stop() {
        this.#round++;
        this.#cancel();
    }
    #wait(token) {
        const known = lifeOf(token);
        if (!known)
            return undefined;
        // The server has just taken it, so one that is over by this clock shows that the clock is wrong.
        let left = known.expires - this.clock.now();
        if (left <= 0)
            left = known.life ?? SPARE;
        return Math.max(LEAST, left - Math.min(SPARE, left / 5));
    }
}
