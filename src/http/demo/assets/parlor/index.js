// All that an application needs.
export { Parlor } from "./parlor.js";
export { ParlorError } from "./errors.js";
export * from "./wire.js";
