import assert from "node:assert/strict";
import { test } from "node:test";
import { ready, stage, turn } from "./fake.js";

const claims = (payload: object): string => `x.${Buffer.from(JSON.stringify(payload)).toString("base64url")}.x`;

test("the token travels as a subprotocol, the cursor in the URL", async () => {
  const { chat, last, connected } = stage();
  const socket = await connected();
  assert.equal(socket.url, "ws://parlor.test/ws/?since=");
  assert.deepEqual(socket.protocols, ["Bearer", "jwt"]);
  assert.equal(chat.connection.state, "open");
  assert.equal(chat.userId, 1);

  await socket.says({ type: "room_removed", room_id: 9, cursor: "a/b" });
  await socket.ends(1006);
  chat.connect();
  await turn();
  assert.equal(last().url, "ws://parlor.test/ws/?since=a%2Fb");
});

test("it is open with its first frame, not before", async () => {
  const { chat, last } = stage();
  chat.connect();
  await turn();
  assert.equal(chat.connection.state, "connecting");
  await last().says({ type: "presence", user_id: 2, online: true });
  assert.equal(chat.connection.state, "connecting");
  await last().says(ready());
  assert.equal(chat.connection.state, "open");
});

test("each pause is longer, up to 30 s, until a connection was steady", async () => {
  const { chat, clock, last, sockets } = stage({ random: () => 0.999999 });
  const pauses: number[] = [];
  chat.on("connection", (state) => { if (state.state === "waiting") pauses.push(Math.round(state.ms)); });
  chat.connect();
  await turn();
  for (const _ of Array(7)) {
    await last().ends(1006);
    await clock.pass(pauses.at(-1) ?? 0);
  }
  assert.deepEqual(pauses, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  assert.equal(sockets.length, 8);

  await last().says(ready());
  await last().ends(1013);
  await clock.pass(30_000);
  assert.equal(pauses.at(-1), 30_000, "open for a moment only");

  await last().says(ready());
  await clock.pass(10_000);
  await last().ends(1011);
  assert.equal(pauses.at(-1), 1_000);
});

test("any part of the pause may be it", async () => {
  const { chat, last } = stage({ random: () => 0.25 });
  chat.connect();
  await turn();
  await last().ends(1006);
  assert.deepEqual(chat.connection, { state: "waiting", ms: 250, code: 1006, why: "the connection was lost, or the server can't be reached (1006)" });
});

test("a server that goes away is left for less than a second; one that only goes away, for longer", async () => {
  const { chat, clock, last, connected } = stage();
  await connected();
  await last().ends(1012, "restart");
  assert.deepEqual(chat.connection, { state: "waiting", ms: 500, code: 1012, why: "restart (1012)" });
  for (const ms of [500, 1_000, 2_000]) {
    await clock.pass(1_000 + ms);
    await last().ends(1012);
    assert.ok(chat.connection.state === "waiting" && chat.connection.ms === ms);
  }
});

test("a refused token is replaced once, then that is told", async () => {
  const asked: boolean[] = [];
  const { chat, clock, news, last, sockets } = stage({ token: async ({ refused }) => { asked.push(refused); return "jwt"; } });
  chat.connect();
  await turn();
  await last().ends(4001, "expired");
  assert.deepEqual(asked, [false, true]);
  await last().ends(4001, "expired");
  assert.deepEqual(chat.connection, { state: "closed", code: 4001, why: "expired (4001)" });
  assert.deepEqual(news(), ["error closed"]);
  await clock.pass(3_600_000);
  assert.equal(sockets.length, 2);

  chat.connect(); // the application has logged the user in again
  await turn();
  await last().says(ready());
  assert.equal(chat.connection.state, "open");
});

test("a token that was refused is not taken again after an attempt that came to nothing", async () => {
  const asked: boolean[] = [];
  let fails = false;
  const { chat, clock, last } = stage({
    token: async ({ refused }) => { asked.push(refused); if (fails) throw new Error("offline"); return "jwt"; },
  });
  chat.connect();
  await turn();
  fails = true;
  await last().ends(4001);
  fails = false;
  await clock.pass(500);
  await last().ends(1006);
  chat.connect();
  await turn();
  assert.deepEqual(asked, [false, true, true, true]);
  await last().says(ready());
  await clock.pass(10_000);
  await last().ends(1006);
  await clock.pass(500);
  assert.deepEqual(asked.slice(4), [false]);
});

test("a token that lasted is replaced without a word", async () => {
  const { clock, last, news, connected } = stage();
  const socket = await connected();
  await clock.pass(10_000);
  await socket.ends(4001);
  await last().says(ready());
  assert.deepEqual(news(), ["ready false"]);
});

for (const code of [4003, 4004, 4400]) {
  test(`after ${code} nothing is tried by itself`, async () => {
    const { chat, clock, sockets, news, connected } = stage();
    const socket = await connected();
    await socket.ends(code);
    await clock.pass(3_600_000);
    assert.equal(sockets.length, 1);
    assert.equal(chat.connection.state, "closed");
    assert.deepEqual(news(), ["error closed"]);
  });
}

test("after 4029 it waits for long, and says so", async () => {
  const { chat, news, connected } = stage({ random: () => 0 });
  const socket = await connected();
  await socket.ends(4029);
  assert.ok(chat.connection.state === "waiting" && chat.connection.ms === 15_000);
  assert.deepEqual(news(), ["error closed"]);
});

test("a silent connection is asked, and given up where it doesn't answer", async () => {
  const { chat, clock, sockets, connected, news } = stage();
  const socket = await connected();
  await clock.pass(24_999);
  assert.deepEqual(socket.actions("ping"), []);
  await clock.pass(1);
  assert.equal(socket.actions("ping").length, 1);
  await socket.says({ type: "pong" });
  await clock.pass(25_000);
  assert.equal(socket.actions("ping").length, 2);
  await clock.pass(10_000);
  assert.ok(socket.closed);
  assert.equal(chat.connection.state, "waiting");
  await clock.pass(500);
  assert.equal(sockets.length, 2);
  await socket.says(ready()); // a late frame of the old socket is ignored
  assert.equal(chat.connection.state, "connecting");
  assert.deepEqual(news(), []);
});

test("connect() on an open connection makes sure that it lives", async () => {
  const { chat, clock, connected } = stage();
  const socket = await connected();
  chat.connect();
  assert.equal(socket.actions("ping").length, 1);
  await clock.pass(10_000);
  assert.ok(socket.closed);
});

test("a first frame that doesn't come isn't waited for", async () => {
  const { chat, clock, last } = stage();
  chat.connect();
  await turn();
  await clock.pass(15_000);
  assert.ok(last().closed);
  assert.equal(chat.connection.state, "waiting");
});

test("one that is on its way when it is given up has twice as long the next time", async () => {
  const { chat, clock, last } = stage();
  const given = async (limit: number): Promise<void> => {
    await clock.pass(limit - 1);
    assert.ok(!last().closed, `${limit}`);
    await clock.pass(1);
    assert.ok(last().closed, `${limit}`);
    assert.ok(chat.connection.state === "waiting");
    await clock.pass(chat.connection.ms);
  };
  chat.connect();
  await turn();
  await given(15_000); // the handshake was not done, so the limit is not doubled
  for (const limit of [15_000, 30_000, 60_000, 120_000, 240_000, 240_000]) {
    await last().opens();
    await given(limit);
  }
  await last().opens();
  await last().says(ready());
  await last().ends(1006);
  chat.connect();
  await turn();
  await last().opens();
  await given(15_000);
});

test("an attempt that fails says so in two ways, and is listened to in both", async () => {
  const { chat, last } = stage();
  chat.connect();
  await turn();
  await last().fails();
  assert.equal(chat.connection.state, "waiting");
});

test("connect() during an attempt: where that is lost there is another one at once, but no third", async () => {
  const { chat, last, sockets, connected } = stage();
  chat.connect();
  await turn();
  chat.connect(); // the network is back
  await last().ends(1006);
  assert.equal(sockets.length, 2);
  await last().ends(1006);
  assert.equal(chat.connection.state, "waiting");

  chat.connect();
  await turn();
  chat.connect();
  await last().ends(1013); // the server answered, so there is no immediate retry
  assert.equal(chat.connection.state, "waiting");

  const opening = connected();
  chat.connect();
  await opening; // the attempt was successful
  await last().ends(1006);
  assert.equal(chat.connection.state, "waiting");
  assert.equal(sockets.length, 4);
});

test("where there was no token, connect() during the asking asks again at once", async () => {
  const asked: (() => void)[] = [];
  const { chat, sockets } = stage({ token: () => new Promise((_, reject) => asked.push(() => reject(new Error("offline")))) });
  chat.connect();
  chat.connect();
  asked[0]?.();
  await turn();
  assert.deepEqual([asked.length, chat.connection.state], [2, "connecting"]);
  asked[1]?.();
  await turn();
  assert.deepEqual([asked.length, chat.connection.state, sockets.length], [2, "waiting", 0]);
});

test("there is one socket, however often it is connected and closed", async () => {
  const { chat, clock, sockets } = stage(); // the fake asserts at each new socket that the others are closed
  for (const _ of Array(3)) {
    chat.connect();
    chat.connect();
    await turn();
    chat.close();
    chat.connect();
  }
  await turn();
  assert.equal(sockets.length, 4);
  chat.close();
  await clock.pass(3_600_000);
  assert.deepEqual(sockets.map(({ closed }) => closed), [true, true, true, true]);
});

test("where there is no token it asks again later", async () => {
  let fails = true;
  const { chat, clock, news, sockets } = stage({ token: async () => { if (fails) throw new Error("offline"); return "jwt"; } });
  chat.connect();
  await turn();
  assert.deepEqual(news(), ["error no_token"]);
  assert.equal(chat.connection.state, "waiting");
  fails = false;
  await clock.pass(500);
  assert.equal(sockets.length, 1);
});

test("a token that can't be sent is told", async () => {
  class Refusing { constructor() { throw new SyntaxError("bad subprotocol"); } }
  const { chat, news } = stage({ WebSocket: Refusing as never });
  chat.connect();
  await turn();
  assert.deepEqual(chat.connection, { state: "closed", code: 1006, why: "bad subprotocol" });
  assert.deepEqual(news(), ["error cannot_connect"]);
});

test("a token is replaced before it expires", async () => {
  let number = 0;
  const clockStart = 1_000; // the start of the clock of `stage`, in s
  const { clock, connected, sockets, news } = stage({ token: async () => claims({ n: number++, exp: clockStart + 3600 * number }) });
  const socket = await connected();
  socket.pongs = true;
  await clock.pass(3_539_000);
  assert.deepEqual(socket.actions("auth"), []);
  for (const _ of Array(2)) await socket.says({ type: "pong" });
  await clock.pass(1_000);
  const [auth] = socket.actions("auth");
  assert.equal(auth?.token, claims({ n: 1, exp: clockStart + 7200 }));
  await socket.says({ type: "auth", expires_at: "", ref: auth?.ref } as never);
  assert.equal(sockets.length, 1);
  assert.deepEqual(news(), []);
});

test("where this machine's clock is ahead, a token's own life counts", async () => {
  const { clock, connected } = stage({ token: async () => claims({ iat: -3_100, exp: 500 }) }); // now: 1000 s
  const socket = await connected();
  socket.pongs = true;
  await clock.pass(3_539_000);
  assert.deepEqual(socket.actions("auth"), []);
  await clock.pass(1_000);
  assert.equal(socket.actions("auth").length, 1);
});
