// Tests random orders of events and pages. At the end, the client must have the same messages as the server. Events
// arrive in order. Some `chat_message` events never arrive, and the client must load these messages as pages of
// history. The server may read a page from the database long before it sends the page. Therefore an event that arrives
// before a page may be newer than the page.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Message } from "../src/index.js";
import type { Incoming } from "../src/level3.js";
import { at, message, said, stage, turn, view } from "./fake.js";

const ROUNDS = 60;
const STEPS = 80;

/** A pseudo-random generator (https://en.wikipedia.org/wiki/Xorshift), so that a failure can be repeated. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

for (let round = 1; round <= ROUNDS; round++) {
  test(`round ${round}`, async () => {
    const random = randomOf(round * 7_919);
    const { chat, connected } = stage();
    const socket = await connected(view(7));
    const stored = new Map<number, Message>();
    let lastId = 0;
    let edits = 0;
    const underWay: Incoming[] = []; // frames that the server has sent and that have not arrived yet
    const unsent: Incoming[] = []; // pages that the server has read but not sent yet
    let asked = 0;

    const write = (isLost: boolean): void => {
      const made = message(++lastId, `m${lastId}`, 1 + random(2));
      stored.set(lastId, made);
      if (!isLost) underWay.push(said(7, made));
    };
    const some = (): number => [...stored.keys()][random(Math.max(1, stored.size))] ?? 0;
    const answer = (): void => {
      const [frame] = socket.actions("history").slice(asked);
      if (!frame) return;
      asked++;
      const rest = [...stored.values()].filter(({ message_id }) => message_id > Number(frame.after));
      const limit = 1 + random(4);
      unsent.push({ type: "history", messages: rest.slice(0, limit) as never, has_more: rest.length > limit, ref: frame.ref ?? "" });
    };
    const arrive = async (): Promise<void> => {
      const frame = underWay.shift();
      if (frame) await socket.says(frame);
    };

    for (let step = 0; step < STEPS; step++) {
      const id = some();
      const old = stored.get(id);
      switch (random(8)) {
        case 0: case 1: write(random(4) === 0); break;
        case 2: {
          if (!old) break;
          const text = `e${++edits}`;
          stored.set(id, { ...old, text, updated_at: at(10_000 + edits) });
          underWay.push({ type: "message_edited", room_id: 7, message_id: id, text });
          break;
        }
        case 3:
          if (stored.delete(id)) underWay.push({ type: "message_deleted", room_id: 7, message_id: id });
          break;
        case 4: answer(); break;
        case 5: underWay.push(...unsent.splice(0)); break;
        default: await arrive();
      }
    }
    write(false); // with this message, the client notices the last gap
    do {
      answer();
      underWay.push(...unsent.splice(0));
      await arrive();
      await turn();
    } while (underWay.length > 0 || asked < socket.actions("history").length);

    const text = (messages: Iterable<Message>): string[] => [...messages].map(({ message_id, text }) => `${message_id} ${text}`);
    const room = chat.room(7);
    assert.ok(room && !room.behind);
    assert.deepEqual(text(room.messages), text(stored.values()));
  });
}
