// Shows for some seconds why an action failed.

import { $, setText } from "./dom.js";

const STAYS = 7e3; // ms

let timer;

export function notice(message) {
  setText($("notice"), message);
  clearTimeout(timer);
  timer = setTimeout(() => setText($("notice"), ""), STAYS);
}
