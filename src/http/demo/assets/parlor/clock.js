/** The longest time that `setTimeout` supports, in ms. A longer timer would fire immediately. */
const LONGEST = 2 ** 31 - 1;
export const systemClock = {
    now: () => Date.now(),
    after(ms, run) {
        const timer = setTimeout(run, Math.min(ms, LONGEST));
        return () => clearTimeout(timer);
    },
};
