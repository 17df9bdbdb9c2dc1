// What every Level of the protocol stands on. It also tells a fault of these tests' own socket and server from one of
// the library's.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Server } from "./server.js";
import { WebSocket } from "./websocket.js";

let server: Server | undefined;
before(async () => { server = await Server.start(); });
after(() => server?.end());

test("a message comes back, and a refusal is a close code", { timeout: 30_000 }, async () => {
  assert.ok(server);
  const { url } = server;
  const room = await server.room(1, 2);
  const token = server.token(1);
  const address = `${url}chat/?room_id=${room}`;
  const text = "é".repeat(3_000); // more than fits a short frame
  const frames = await new Promise<Record<string, unknown>[]>((resolve, reject) => {
    const heard: Record<string, unknown>[] = [];
    const socket = new WebSocket(address, ["Bearer", token]);
    socket.addEventListener("close", ({ code, reason }) => reject(new Error(`${code} ${reason}`)));
    socket.addEventListener("message", ({ data }) => {
      heard.push(JSON.parse(data) as Record<string, unknown>);
      if (heard.length === 1) socket.send(JSON.stringify({ action: "send", message: text }));
      else {
        resolve(heard);
        socket.close();
      }
    });
  });
  assert.deepEqual(frames[0], []);
  assert.equal(frames[1]?.type, "chat_message");
  assert.equal((frames[1]?.message as { text: string }).text, text);

  const code = await new Promise((resolve) => {
    new WebSocket(address, ["Bearer", "no token"]).addEventListener("close", (close) => resolve(close.code));
  });
  assert.equal(code, 4001);
});
