/** The longest time that a timer can be set to, in ms; a longer one would run out at once. */
const LONGEST = 2 ** 31 - 1;
export const systemClock = {
    now: () => Date.now(),
    after(ms, run) {
        const timer = setTimeout(run, Math.min(ms, LONGEST));
        return () => clearTimeout(timer);
    },
};
