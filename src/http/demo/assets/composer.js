// The text box: for a new message, or for an edit of an old one.
//
// A text is sent exactly as typed, with its spaces. A text that is too long for the server cannot be sent. A draft is
// still there after an edit and after a visit to another room. chat.js sends the text.

import { $ } from "./dom.js";

const MAX_CODE_POINTS = 4096; // of a text; the server's default
const COUNTER_FROM = 200;     // the counter is shown from this number of characters left

const composer = $("composer");
const drafts = new Map(); // room id -> the room's draft
let on;
let room;
let editing; // {message, draft}: the message that the box edits, and the draft from before

// The callbacks, each a function: send(text); edit(id, text), whose promise is falsy if the edit failed; typing(); and
// lastOwn(), which returns the message that the Up key edits.
export function listen(callbacks) {
  on = callbacks;
}

// Drops the drafts of all rooms.
export function forget() {
  drafts.clear();
}

// Shows the draft of another room, or of none.
export function show(itsRoom) {
  if (editing) stopEditing();
  if (room) drafts.set(room.id, composer.value);
  room = itsRoom;
  put(drafts.get(room?.id) ?? "");
}

export function edit(message) {
  if (editing) stopEditing();
  editing = { message, draft: composer.value };
  markEdited(true);
  $("editing-text").textContent = message.text;
  $("editing").hidden = false;
  put(message.text);
  composer.focus();
}

export function cancel() {
  if (editing) stopEditing();
}

// A message was deleted. If the box edits it, the text stays as a new message.
export function letGo(id) {
  if (editing?.message.message_id === id) stopEditing(composer.value);
}

function stopEditing(draft = editing.draft) {
  markEdited(false);
  editing = undefined;
  $("editing").hidden = true;
  put(draft);
  composer.focus();
}

function markEdited(on) {
  const element = document.querySelector(`.message[data-id="${editing.message.message_id}"]`);
  element?.classList.toggle("editing", on);
}

// Half of a surrogate pair can't be sent as UTF-8, and so not as JSON.
const sendable = () => composer.value.trim() !== "" && composer.value.isWellFormed();
const tooMany = () => [...composer.value].length - MAX_CODE_POINTS; // code points, not UTF-16 units

async function submit() {
  const text = composer.value;
  if (!sendable() || tooMany() > 0) return;
  if (!editing) {
    put("");
    composer.focus(); // the button, now disabled, would drop the focus, and a phone would close its keyboard
    return on.send(text);
  }
  const edited = editing;
  const changed = text !== edited.message.text;
  const done = !changed || (await on.edit(edited.message.message_id, text));
  if (done && editing === edited) stopEditing();
}

function put(text) {
  composer.value = text;
  changed();
}

// After every change of the box: its height, the counter, whether it can be sent.
function changed() {
  composer.style.height = "auto";
  composer.style.height = `${composer.scrollHeight}px`;
  const over = tooMany();
  $("counter").hidden = over < -COUNTER_FROM;
  $("counter").textContent = over > 0 ? `${over} too many` : `${-over} left`;
  composer.setAttribute("aria-invalid", over > 0);
  $("send").disabled = over > 0 || !sendable();
  $("send").setAttribute("aria-label", editing ? "Save the edit" : "Send");
}

function editLast(event) {
  const last = on.lastOwn();
  if (!last) return;
  event.preventDefault(); // or the caret would jump to the start
  edit(last);
}

composer.addEventListener("input", () => {
  changed();
  if (!editing && composer.value) on.typing();
});
composer.addEventListener("keydown", (event) => {
  if (event.isComposing) return; // Enter picks a word in an input method
  if (event.key === "ArrowUp" && !composer.value && !editing) editLast(event);
  if (event.key !== "Enter" || event.shiftKey) return;
  event.preventDefault();
  submit();
});
$("compose-form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
// A tap on the button does not take the focus from the box: on a phone the keyboard stays open.
$("send").addEventListener("pointerdown", (event) => event.preventDefault());
$("cancel-edit").addEventListener("click", cancel);
