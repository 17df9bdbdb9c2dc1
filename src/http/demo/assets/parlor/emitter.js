/** Tells listeners what happened. `Events` maps each name to what its listeners are given. */
export class Emitter {
    #listeners = new Map();
    /** Calls the listener for each such event from now on, until the function that this returns is called. */
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
                // A fault of the page must not stop the frame half way through the model; it is still seen as uncaught.
                queueMicrotask(() => { throw error; });
            }
        }
    }
}
