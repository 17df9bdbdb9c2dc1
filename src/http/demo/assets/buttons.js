// The buttons of a message. A deletion cannot be undone, so a second button confirms it.

import { $ } from "./dom.js";

let on;

// The callbacks, each a function: edit(id); delete(id); pointed(id), when the pointer is on a message.
export function listen(callbacks) {
  on = callbacks;
}

const actions = {
  edit: (id) => on.edit(id),
  delete(id, element) {
    confirming()?.classList.remove("confirming");
    element.classList.add("confirming");
    element.querySelector("[data-action=keep]").focus();
  },
  "confirm-delete": (id) => on.delete(id),
  keep,
};

const confirming = () => document.querySelector(".confirming");

// Cancels a deletion that is not confirmed yet. Returns false if there is none.
export function keep() {
  const element = confirming();
  element?.classList.remove("confirming");
  element?.querySelector("[data-action=delete]").focus();
  return Boolean(element);
}

$("messages").addEventListener("click", (event) => {
  const action = event.target.closest("[data-action]")?.dataset.action;
  const element = event.target.closest(".message");
  if (!action || event.detail > 1) return; // the second half of a double click confirms nothing
  actions[action](Number(element.dataset.id), element);
});

$("messages").addEventListener("pointerover", (event) => {
  const element = event.target.closest(".message");
  if (element) on.pointed(Number(element.dataset.id));
});
