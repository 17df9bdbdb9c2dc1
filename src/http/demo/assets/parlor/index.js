// The public interface of this library.
export { Parlor } from "./parlor.js";
export { ParlorError } from "./errors.js";
export * from "./wire.js";
