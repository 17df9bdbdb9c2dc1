/** Calls listeners when an event happens. `Events` maps the name of each event to the value that its listeners get. */
export class Emitter {
    #listeners = new Map();
    /** Calls the listener for each later event with this name. The returned function removes the listener. */
    on(name, listener) {
        const listeners = this.#listeners.get(name) ?? new Set();
        this.#listeners.set(name, listeners.add(listener));
        return () => listeners.delete(listener);
    }
    emit(name, event) {
        for (const listener of [...(this.#listeners.get(name) ?? [])]) {
            try {
                listener(event);
            }
            catch (error) {
                // An error in a listener must not stop the processing of a frame half way. The error is thrown later, as an
                // uncaught error.
                queueMicrotask(() => { throw error; });
            }
        }
    }
}
