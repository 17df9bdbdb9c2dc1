// The dialog that makes a room. Only a server for trying out allows this; an application's backend makes its rooms through
// the REST API.

import { $, called, clone, setText, showAvatar } from "./dom.js";
import { makeRoom, session } from "./session.js";

const dialog = $("new-room");
let on;

// The callback: made(id).
export function listen(callbacks) {
  on = callbacks;
}

for (const id of ["add-room", "first-room"]) $(id).addEventListener("click", begin);

function begin() {
  const numbers = Array.from({ length: session.people }, (_, index) => index + 1);
  $("people").replaceChildren(...numbers.filter((number) => number !== session.user_id).map(person));
  $("new-room-name").value = "";
  setText($("new-room-problem"), "");
  changed();
  dialog.showModal();
}

function person(number) {
  const element = clone("person-template");
  element.querySelector("input").value = number;
  showAvatar(element.querySelector(".avatar"), number);
  setText(element.querySelector(".name"), called(number));
  return element;
}

const chosen = () => [...$("people").querySelectorAll("input:checked")].map(({ value }) => Number(value));

// Two users share one room without a name. More users are a group, which may have a name.
function changed() {
  const count = chosen().length;
  $("group-name").hidden = count < 2;
  $("new-room-make").disabled = count === 0;
}

$("people").addEventListener("change", changed);
$("new-room-cancel").addEventListener("click", () => dialog.close());
$("new-room-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const members = chosen();
  const name = members.length > 1 ? $("new-room-name").value.trim() : "";
  $("new-room-make").disabled = true;
  try {
    const id = await makeRoom(members, name || undefined);
    dialog.close();
    on.made(id);
  } catch (error) {
    setText($("new-room-problem"), error.message);
    $("new-room-make").disabled = false;
  }
});
