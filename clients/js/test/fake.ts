// Fakes for the tests: a server whose frames the test chooses, and a clock that the test moves forward.

import assert from "node:assert/strict";
import { Parlor, type Message, type ParlorOptions, type Socket, type SocketClass, type StorageLike } from "../src/index.js";
import type { Clock } from "../src/clock.js";
import type { Incoming, ListedMessage, Member, RoomView } from "../src/level3.js";

/** Waits until all pending promises and callbacks have run. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class ManualClock implements Clock {
  #now = 1_000_000;
  #timers: { at: number; run: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + ms, run };
    this.#timers.push(timer);
    return () => { this.#timers = this.#timers.filter((other) => other !== timer); };
  }

  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#now = Math.max(this.#now, next.at);
      next.run();
      await turn();
    }
    this.#now = end;
    await turn();
  }
}

type Kind = "open" | "message" | "error" | "close";

export type Sent = Record<string, unknown> & { action: string; ref?: string };

export class FakeSocket implements Socket {
  readonly sent: Sent[] = [];
  closed = false;
  /** Whether the socket answers each `ping` itself. */
  pongs = false;
  readonly #listeners: Record<Kind, ((event: never) => void)[]> = { open: [], message: [], error: [], close: [] };

  constructor(readonly url: string, readonly protocols: string[]) {}

  send(data: string): void {
    assert.ok(!this.closed, "sent on a closed socket");
    const frame = JSON.parse(data) as Sent;
    this.sent.push(frame);
    if (frame.action === "ping" && this.pongs) void this.says({ type: "pong" });
  }

  close(): void {
    this.closed = true;
  }

  addEventListener(type: Kind, listener: (event: never) => void): void {
    this.#listeners[type].push(listener);
  }

  // --- The actions of the server ---

  /** Reports that the handshake is done. */
  async opens(): Promise<void> {
    this.#tell("open", {});
    await turn();
  }

  /**
   * Reports that the server can't be reached: an error, and then a close. Asserts that the client listens for the
   * error, because Node's package `ws` throws an error that has no listener.
   */
  async fails(): Promise<void> {
    assert.ok(this.#listeners.error.length > 0, "nobody listens to the error");
    this.#tell("error", {});
    await this.ends(1006);
  }

  async says(...frames: Incoming[]): Promise<void> {
    for (const frame of frames) {
      this.#tell("message", { data: JSON.stringify(frame) });
      await turn();
    }
  }

  async ends(code: number, reason = ""): Promise<void> {
    this.closed = true;
    this.#tell("close", { code, reason });
    await turn();
  }

  #tell(kind: Kind, event: object): void {
    for (const listener of this.#listeners[kind]) listener(event as never);
  }

  actions(action: string): Sent[] {
    return this.sent.filter((frame) => frame.action === action);
  }
}

export class MemoryStorage implements StorageLike {
  readonly map = new Map<string, string>();
  get length(): number { return this.map.size; }
  key(index: number): string | null { return [...this.map.keys()][index] ?? null; }
  getItem(key: string): string | null { return this.map.get(key) ?? null; }
  setItem(key: string, value: string): void { this.map.set(key, value); }
  removeItem(key: string): void { this.map.delete(key); }
}

/** Creates a chat of user 1 with a fake server, and records all events of the chat. */
export function stage(options: Partial<ParlorOptions> = {}) {
  const sockets: FakeSocket[] = [];
  const WebSocket: SocketClass = class extends FakeSocket {
    constructor(url: string, protocols: string[]) {
      assert.ok(sockets.every(({ closed }) => closed), "a second socket while there is one");
      super(url, protocols);
      sockets.push(this);
    }
  };
  const clock = new ManualClock();
  const chat = new Parlor({ url: "ws://parlor.test/ws/", token: async () => "jwt", WebSocket, clock, random: () => 0.5, ...options });
  const told: string[] = [];
  chat.on("message", ({ room, message }) => told.push(`message ${room.id}/${message.message_id} ${message.text}`));
  chat.on("edited", ({ room, message }) => told.push(`edited ${room.id}/${message.message_id} ${message.text}`));
  chat.on("deleted", ({ room, messageId }) => told.push(`deleted ${room.id}/${messageId}`));
  chat.on("marks", ({ room }) => told.push(`marks ${room.id}`));
  chat.on("unread", ({ room }) => told.push(`unread ${room.id} ${room.unread}`));
  chat.on("typing", ({ room, userId }) => told.push(`typing ${room.id} ${userId}`));
  chat.on("presence", ({ userId, online }) => told.push(`presence ${userId} ${online}`));
  chat.on("roomAdded", ({ room }) => told.push(`added ${room.id}`));
  chat.on("roomChanged", ({ room }) => told.push(`changed ${room.id}`));
  chat.on("roomRemoved", ({ room }) => told.push(`removed ${room.id}`));
  chat.on("ready", ({ resumed }) => told.push(`ready ${resumed}`));
  chat.on("error", ({ code }) => told.push(`error ${code}`));
  const last = (): FakeSocket => {
    const socket = sockets.at(-1);
    assert.ok(socket, "there is no socket");
    return socket;
  };
  return {
    chat, clock, sockets, told, last,
    /** Returns the recorded events since the last call. */
    news: (): string[] => told.splice(0),
    /** Connects, sends a first frame with these rooms, and drops the events that were recorded until then. */
    async connected(...rooms: RoomView[]): Promise<FakeSocket> {
      chat.connect();
      await turn();
      await last().says(ready(rooms));
      told.length = 0;
      return last();
    },
  };
}

export const ready = (rooms: RoomView[] = [], more: { has_more?: boolean; next?: string; cursor?: string; user_id?: number } = {}): Incoming =>
  ({ type: "ready", user_id: 1, resumed: false, cursor: "c0", has_more: false, online: [], rooms, ...more });

export const member = (user_id: number, marks: { delivered?: number; read?: number } = {}): Member =>
  ({ user_id, email: null, role: "member", delivered: 0, read: 0, online: false, ...marks });

export const view = (room_id: number, more: Partial<RoomView> = {}): RoomView => ({
  room_id, kind: "direct", name: null, last_activity: at(0), members: [member(1), member(2)],
  last_message: null, unread: 0, delivered: 0, read: 0, ...more,
});

/**
 * Returns a time as text: `second` seconds after a fixed start. The fake message with number N has the time `at(N)`.
 */
export const at = (second: number): string => new Date(Date.UTC(2025, 1, 18) + second * 1000).toISOString();

export const message = (message_id: number, text = `m${message_id}`, sender_id = 2, more: Partial<ListedMessage> = {}): ListedMessage =>
  ({ message_id, text, sender_id, sender_email: null, status: "send", created_at: at(message_id), updated_at: at(message_id), ...more });

export const said = (room_id: number, said: Message, more: { ref?: string; cursor?: string } = {}): Incoming =>
  ({ type: "chat_message", room_id, message: said, cursor: `c${said.message_id}`, ...more });
