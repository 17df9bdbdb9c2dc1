/** A message on its way to the server. */
export class Outgoing {
    roomId;
    text;
    clientId;
    at;
    /** `queued` for its turn, or for a connection; `sent`: the server has it safe; `failed`: it won't be tried again. */
    state = "queued";
    /** Of the message that it became. */
    messageId;
    error;
    /** Resolves with the message's id once the server has it safe, which may take for ever; rejects where it failed. */
    done;
    #resolve;
    #reject;
    constructor(roomId, text, 
    /** By it the server knows a message that is sent again. */
    clientId, 
    /** Its place among those of its room: the time it was written, in ms since 1970. */
    at) {
        this.roomId = roomId;
        this.text = text;
        this.clientId = clientId;
        this.at = at;
        this.done = new Promise((resolve, reject) => {
            this.#resolve = resolve;
            this.#reject = reject;
        });
        // Who looks at `state` instead need not catch this.
        this.done.catch(() => { });
    }
    /** The server has it. */
    succeed(messageId) {
        this.state = "sent";
        this.messageId = messageId;
        this.#resolve(messageId);
    }
    fail(error) {
        this.state = "failed";
        this.error = error;
        this.#reject(error);
    }
}
