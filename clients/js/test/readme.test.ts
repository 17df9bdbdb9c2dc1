// Checks that the library's README and docs/client-library.md list all fields of a room and of a message.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import type { Message } from "../src/level3.js";
import { Room } from "../src/room.js";

const PAGES = ["../../README.md", "../../../../docs/client-library.md"];

/**
 * Lists the fields of `Message`. The compiler refuses this object if it lacks a field of `Message`, or has a field that
 * `Message` does not have.
 */
const MESSAGE: Record<keyof Message, true> = {
  message_id: true, sender_id: true, sender_email: true, text: true, status: true, created_at: true, updated_at: true,
};

/** Returns the names in the first column of the table about `subject`, sorted. */
function fieldsInTable(page: string, subject: string): string[] {
  const lines = readFileSync(new URL(page, import.meta.url), "utf8").split("\n");
  const start = lines.findIndex((line) => line.startsWith(`| field of a \`${subject}\` |`));
  assert.notEqual(start, -1, `${page} has no table of a ${subject}`);
  const rows = lines.slice(start + 2, lines.findIndex((line, index) => index > start && !line.startsWith("|")));
  return rows.flatMap((row) => [...(row.split("|")[1] ?? "").matchAll(/`(\w+)`/g)].map(([, name]) => name ?? "")).sort();
}

/** Returns the names of the public fields of a room: the properties of the object, and the getters of its class. */
function fieldsOfRoom(): string[] {
  const view = {
    room_id: 1, kind: "direct" as const, name: null, last_activity: "", members: [], unread: 0, last_message: null,
    delivered: 0, read: 0,
  };
  const getters = Object.entries(Object.getOwnPropertyDescriptors(Room.prototype)).filter(([, { get }]) => get);
  return [...Object.keys(new Room(view, 1)), ...getters.map(([name]) => name)].sort();
}

for (const page of PAGES) {
  test(`the table of a Room is complete: ${page}`, () => {
    assert.deepEqual(fieldsInTable(page, "Room"), fieldsOfRoom());
  });
  test(`the table of a Message is complete: ${page}`, () => {
    assert.deepEqual(fieldsInTable(page, "Message"), Object.keys(MESSAGE).sort());
  });
}
