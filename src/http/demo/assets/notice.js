// What went wrong, for a while: what a person did that can't be done, or not now.

import { $, setText } from "./dom.js";

const STAYS = 7e3; // ms

let timer;

export function notice(message) {
  setText($("notice"), message);
  clearTimeout(timer);
  timer = setTimeout(() => setText($("notice"), ""), STAYS);
}
