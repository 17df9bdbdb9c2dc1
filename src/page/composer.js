// The box people type in: for a new message, or for an edit of an old one.
//
// It promises that text goes out as it was typed, spaces and all, that one which the server would refuse for
// its length can't be sent, and that what was typed is still there after an edit, cancelled or not. It leaves
// to chat.js what is done with the text.

import { $ } from "./dom.js";
import * as log from "./log.js";

const MAX_CODE_POINTS = 4096; // of a text; the server's default
const COUNTER_FROM = 200;     // the counter shows when so few are left

const composer = $("composer");
let on;
let editing; // {id, draft}: the message that the box edits, and what was in it before

// Whom to tell, each a function: send(text), and edit(id, text), which is false where that has to wait.
export function listen(callbacks) {
  on = callbacks;
}

export function edit(id) {
  if (editing) stopEditing();
  const { message, element } = log.get(id);
  editing = { id, draft: composer.value };
  element.classList.add("editing");
  $("editing-text").textContent = message.text;
  $("editing").hidden = false;
  fill(message.text);
  composer.focus();
}

export function cancel() {
  if (editing) stopEditing();
}

// A message is about to go; if it is the one being edited, what was typed stays, as a new message.
export function letGo(id) {
  if (editing?.id === id) stopEditing(composer.value);
}

function stopEditing(draft = editing.draft) {
  log.get(editing.id).element.classList.remove("editing");
  editing = undefined;
  $("editing").hidden = true;
  fill(draft);
  composer.focus();
}

// Half of a surrogate pair can't be sent as UTF-8, and so not as JSON.
const sendable = () => composer.value.trim() !== "" && composer.value.isWellFormed();
const tooMany = () => [...composer.value].length - MAX_CODE_POINTS; // code points, not UTF-16 units

function submit() {
  const text = composer.value;
  if (!sendable() || tooMany() > 0) return;
  if (!editing) {
    fill("");
    return on.send(text);
  }
  const changed = text !== log.get(editing.id).message.text;
  if (!changed || on.edit(editing.id, text)) stopEditing();
}

function fill(text) {
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
  const last = log.lastOwn();
  if (!last) return;
  event.preventDefault(); // or the caret would jump to the start
  edit(last.message.message_id);
}

composer.addEventListener("input", changed);
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
$("cancel-edit").addEventListener("click", cancel);
