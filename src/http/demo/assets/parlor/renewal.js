/**
 * The longest time between the replacement of a token and the token's expiry, in ms. A token with less than five
 * minutes left is replaced after four fifths of its remaining time.
 */
const SPARE = 60_000;
/**
 * The shortest pause between two attempts to replace a token, in ms. This minimum prevents a burst of attempts even if
 * the clock of this machine is wrong.
 */
const LEAST = 5_000;
/**
 * Returns the time when a token expires, in ms since 1970. If the token has `iat`, also returns its total lifetime in
 * ms. Undefined if the text is not a JWT with `exp`.
 */
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
 * Replaces the token of an open connection before the token expires, because the server closes a connection whose token
 * has expired. A failed replacement is tried again. If all attempts fail, the server closes the connection, and the
 * library connects with a new token.
 */
export class Renewal {
    clock;
    renew;
    fail;
    #cancel = () => { };
    #round = 0;
    /**
     * `renew` gets a new token from the application, sends it to the server, and resolves with the new token. `fail` is
     * called with each error.
     */
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
        // The server has just accepted the token. If the token is expired by this machine's clock, this clock is wrong.
        // Then the total lifetime of the token replaces the remaining time.
        let left = known.expires - this.clock.now();
        if (left <= 0)
            left = known.life ?? SPARE;
        return Math.max(LEAST, left - Math.min(SPARE, left / 5));
    }
}
