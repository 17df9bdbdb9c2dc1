import { Backoff } from "./backoff.js";
import { LOST, planFor, whyClosed } from "./close.js";
import { ParlorError, reasonOf } from "./errors.js";
import { Liveness } from "./liveness.js";
/** A token or a first frame that doesn't come in so long isn't waited for, in ms. */
const OPEN_WITHIN = 15_000;
/**
 * Where the handshake was done in that time the next try has twice as long, up to this, in ms: after a long absence the
 * first frame can have 8 MiB, and lines are slow.
 */
const OPEN_WITHIN_AT_MOST = 240_000;
/** A connection has to last for so long before what went wrong earlier is forgotten, in ms. */
const STEADY = 10_000;
/** The longest pause after a server went away that was told to go, in ms. */
const SOON = 1_000;
/**
 * The socket, and another one whenever it closes.
 *
 * It promises that no second socket is made while there is one, that a close is told with its code, that a connection
 * gone silent is given up, and that servers in trouble aren't stormed. What frames mean is left to others.
 */
export class Connection {
    #options;
    #backoff;
    #liveness;
    #state = { state: "idle" };
    #socket; // from its making to its close
    #token = "";
    #attempt = 0; // what belongs to an earlier one isn't listened to
    #cancel = () => { }; // the timer of what is waited for: the next try, or the first frame
    #within = OPEN_WITHIN; // how long a try may take
    #upgraded = false; // its handshake is done
    #asked = false; // connect() was called during it
    #openSince = 0;
    #refusals = 0; // 4001s, and ...
    #departures = 0; // ... 1012s since a connection was steady
    constructor(options) {
        this.#options = options;
        this.#backoff = new Backoff(options.random);
        this.#liveness = new Liveness(options.clock, () => this.send({ action: "ping" }), () => this.#lost(LOST, "no answer"));
    }
    get state() {
        return this.#state;
    }
    /** The token that the open connection was made with. */
    get token() {
        return this.#token;
    }
    /** Connects, now, also where a pause isn't over; where it is open, makes sure that it still lives. */
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
    /** False, and nothing is sent, while it isn't open. */
    send(frame) {
        if (this.#state.state !== "open")
            return false;
        this.#socket?.send(JSON.stringify(frame));
        return true;
    }
    /** A token that was refused is no better after an attempt that came to nothing. */
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
            // A page can set no headers here, and a token in a URL ends up in logs: it travels as a subprotocol.
            socket = new WebSocket(address, ["Bearer", token]);
        }
        catch (error) {
            this.#drop();
            return this.#end("cannot_connect", LOST, reasonOf(error));
        }
        this.#socket = socket;
        this.#token = token;
        // A close follows; but where nobody listens to the error, Node's `ws` throws it.
        socket.addEventListener("error", () => { });
        // One that was given up may still have something to say; nobody listens.
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
        // It is open with its first frame: a refusal comes after the handshake, too.
        if (frame.type === "ready" && this.#state.state === "connecting") {
            this.#cancel();
            this.#within = OPEN_WITHIN;
            this.#openSince = this.#options.clock.now();
            this.#set({ state: "open" });
        }
        if (this.#state.state === "open")
            this.#options.frame(frame);
    }
    /** The first frame may be on its way, and only too large for the line: given up as soon each time, it never comes. */
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
                // A server that only ever goes away is one in trouble.
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
        // What was lost may have begun before the network was back.
        if (this.#asked && code === LOST)
            return this.#tryAgain();
        this.#cancel = this.#options.clock.after(ms, () => this.#tryAgain());
        this.#set({ state: "waiting", ms, code, why });
    }
    #end(error, code, why) {
        this.#set({ state: "closed", code, why });
        this.#options.error(new ParlorError(error, why));
    }
    /** Nothing is waited for or listened to any more. */
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
        // What has a type is taken at its word: the contract is the server's to keep, and its tests hold it to that.
        if (typeof frame === "object" && frame !== null && "type" in frame)
            return frame;
    }
    catch {
        // Not JSON: nothing that the server sends, and nothing that could be acted on.
    }
    return undefined;
}
