import { Backoff } from "./backoff.js";
import { LOST, planFor, whyClosed } from "./close.js";
import { ParlorError, reasonOf } from "./errors.js";
import { Liveness } from "./liveness.js";
/** The time limit of an attempt to connect, in ms, from the request for a token until the first frame. */
const OPEN_WITHIN = 15_000;
/**
 * The maximum to which the time limit of an attempt grows, in ms. If the handshake was done but the first frame was
 * late, the time limit of the next attempt is twice as long. After a long absence the first frame can have 8 MiB, and a
 * slow network needs long for this frame.
 */
const OPEN_WITHIN_AT_MOST = 240_000;
/** The time, in ms, after which an open connection counts as steady. Earlier failures then no longer count. */
const STEADY = 10_000;
/** The longest pause after the first close with 1012 (the server shuts down), in ms. */
const SOON = 1_000;
/**
 * Keeps a socket open: when a socket closes, opens a new one.
 *
 * There is at most one socket at a time. Each close is reported with its code. If no frames arrive, and a `ping` gets
 * no answer, the connection is closed. Pauses between the attempts protect overloaded servers. This class does not
 * interpret frames, except `ready`.
 */
export class Connection {
    #options;
    #backoff;
    #liveness;
    #state = { state: "idle" };
    #socket; // from its creation to its close
    #token = "";
    #attempt = 0; // the number of the attempt; results of earlier attempts are ignored
    #cancel = () => { }; // cancels the timer for the next attempt, or for the first frame
    #within = OPEN_WITHIN; // the time limit of an attempt, in ms
    #upgraded = false; // whether the socket's handshake is done
    #asked = false; // whether connect() was called during the current attempt
    #openSince = 0;
    #refusals = 0; // the number of closes with 4001 since a connection was open for `STEADY`
    #departures = 0; // the number of closes with 1012 since a connection was open for `STEADY`
    constructor(options) {
        this.#options = options;
        this.#backoff = new Backoff(options.random);
        this.#liveness = new Liveness(options.clock, () => this.send({ action: "ping" }), () => this.#lost(LOST, "no answer"));
    }
    get state() {
        return this.#state;
    }
    /** The token with which the open connection was opened. */
    get token() {
        return this.#token;
    }
    /** Connects immediately, even during a pause. If the connection is open, checks by a `ping` that it still works. */
    connect() {
        if (this.#state.state === "open")
            return this.#liveness.ask();
        if (this.#state.state === "connecting") {
            this.#asked = true;
            return;
        }
        if (this.#state.state === "closed")
            this.#forget();
        this.#tryAgain();
    }
    close() {
        this.#drop();
        this.#set({ state: "closed", code: 1000, why: "closed by this side" });
    }
    /** Sends a frame. Returns false, and sends nothing, if the connection is not open. */
    send(frame) {
        if (this.#state.state !== "open")
            return false;
        this.#socket?.send(JSON.stringify(frame));
        return true;
    }
    /**
     * Starts the next attempt. If the server has refused a token and no connection was open for `STEADY` since, the
     * attempt asks for a token that is not cached.
     */
    #tryAgain() {
        void this.#try(this.#refusals > 0);
    }
    async #try(refused) {
        this.#drop();
        const attempt = this.#attempt;
        this.#set({ state: "connecting" });
        this.#cancel = this.#options.clock.after(this.#within, () => this.#late());
        let token;
        try {
            token = await this.#options.token({ refused });
        }
        catch (error) {
            if (attempt !== this.#attempt)
                return;
            this.#drop();
            this.#options.error(new ParlorError("no_token", reasonOf(error)));
            return this.#wait(this.#backoff.next(), LOST, "there is no token");
        }
        if (attempt === this.#attempt)
            this.#open(token);
    }
    #open(token) {
        const { url, WebSocket, since } = this.#options;
        const address = `${url}?since=${encodeURIComponent(since())}`;
        let socket;
        try {
            // The token is sent as a subprotocol. A web page can't set headers of a WebSocket, and a token in a URL would be
            // logged.
            socket = new WebSocket(address, ["Bearer", token]);
        }
        catch (error) {
            this.#drop();
            return this.#end("cannot_connect", LOST, reasonOf(error));
        }
        this.#socket = socket;
        this.#token = token;
        // The event `close` follows each `error` event, so this listener does nothing. Without a listener, Node's package
        // `ws` would throw the error.
        socket.addEventListener("error", () => { });
        // A socket that was replaced may still report events. These events are ignored.
        socket.addEventListener("open", () => {
            if (socket === this.#socket)
                this.#upgraded = true;
        });
        socket.addEventListener("message", ({ data }) => {
            if (socket === this.#socket)
                this.#heard(data);
        });
        socket.addEventListener("close", ({ code, reason }) => {
            if (socket === this.#socket)
                this.#lost(code, reason);
        });
    }
    #heard(data) {
        const frame = parse(data);
        if (!frame)
            return;
        this.#liveness.heard();
        // The connection counts as open only after its first frame, because the server may still refuse the client after
        // the handshake, by a close code.
        if (frame.type === "ready" && this.#state.state === "connecting") {
            this.#cancel();
            this.#within = OPEN_WITHIN;
            this.#openSince = this.#options.clock.now();
            this.#set({ state: "open" });
        }
        if (this.#state.state === "open")
            this.#options.frame(frame);
    }
    /**
     * Ends an attempt whose time limit has passed. If the handshake was done, the first frame may be large and the
     * network slow. Then the time limit of the next attempt is twice as long. With the same limit, every attempt might
     * end before its first frame has arrived.
     */
    #late() {
        if (this.#upgraded)
            this.#within = Math.min(2 * this.#within, OPEN_WITHIN_AT_MOST);
        this.#lost(LOST, "no answer");
    }
    #lost(code, reason) {
        const steady = this.#state.state === "open" && this.#options.clock.now() - this.#openSince >= STEADY;
        if (steady)
            this.#forget();
        this.#drop();
        const why = whyClosed(code, reason);
        switch (planFor(code)) {
            case "give up":
                return this.#end("closed", code, why);
            case "new token":
                if (this.#refusals++ > 0)
                    return this.#end("closed", code, why);
                return void this.#try(true);
            case "soon":
                // If servers close with 1012 again and again, the reason is no normal shutdown, so the pauses grow.
                if (this.#departures++ > 0)
                    return this.#wait(this.#backoff.next(), code, why);
                return this.#wait(this.#options.random() * SOON, code, why);
            case "be patient":
                this.#options.error(new ParlorError("closed", why));
                return this.#wait(this.#backoff.patient(), code, why);
            case "back off":
                return this.#wait(this.#backoff.next(), code, why);
        }
    }
    #wait(ms, code, why) {
        // connect() was called during this attempt, for example because the network is back. The attempt may have failed
        // because it started without a network. Therefore the next attempt starts immediately.
        if (this.#asked && code === LOST)
            return this.#tryAgain();
        this.#cancel = this.#options.clock.after(ms, () => this.#tryAgain());
        this.#set({ state: "waiting", ms, code, why });
    }
    #end(error, code, why) {
        this.#set({ state: "closed", code, why });
        this.#options.error(new ParlorError(error, why));
    }
    /** Ends the current attempt or connection: cancels the timers, closes the socket, and ignores its later events. */
    #drop() {
        this.#attempt++;
        this.#cancel();
        this.#liveness.stop();
        this.#upgraded = false;
        const socket = this.#socket;
        this.#socket = undefined;
        socket?.close();
    }
    #forget() {
        this.#backoff.reset();
        this.#refusals = 0;
        this.#departures = 0;
    }
    #set(state) {
        this.#asked = false;
        this.#state = state;
        this.#options.state(state);
    }
}
function parse(data) {
    try {
        const frame = JSON.parse(String(data));
        // The fields of a frame with a type are not checked. The server's tests check that its frames fit the contract.
        if (typeof frame === "object" && frame !== null && "type" in frame)
            return frame;
    }
    catch {
        // The data is not JSON. The server sends only JSON, so the data is ignored.
    }
    return undefined;
}
