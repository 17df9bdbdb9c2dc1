/** A message that is being sent to the server. */
export class Outgoing {
    roomId;
    text;
    clientId;
    at;
    /**
     * `queued`: waits for its turn or for a connection. `sending`: waits for the answer. `sent`: the server has stored
     * the message. `failed`: the library will not try again.
     */
    state = "queued";
    /** The id of the stored message. Undefined until the state is `sent`. */
    messageId;
    error;
    /**
     * Resolves with the message's id when the server has stored the message. There is no time limit. Rejects if the state
     * becomes `failed`.
     */
    done;
    #resolve;
    #reject;
    constructor(roomId, text, 
    /** The `client_id`, by which the server recognizes a message that is sent again. */
    clientId, 
    /**
     * The time when the user wrote the message, in ms since 1970. The messages of a room are sent in the order of this
     * time.
     */
    at) {
        this.roomId = roomId;
        this.text = text;
        this.clientId = clientId;
        this.at = at;
        this.done = new Promise((resolve, reject) => {
            this.#resolve = resolve;
            this.#reject = reject;
        });
        // An application that reads `state` instead of `done` need not catch the rejection.
        this.done.catch(() => { });
    }
    /** Sets the state to `sent`, because the server has stored the message. */
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
