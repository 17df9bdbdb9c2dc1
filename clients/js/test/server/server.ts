// A server of one's own, with a database of its own; and users who chat there.

import { type ChildProcess, spawn } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Parlor, type Events, type ParlorOptions, type Room, type UserId } from "../../src/index.js";
import { WebSocket } from "./websocket.js";

/** How long anything may take that a test waits for, in ms. */
const WITHIN = 20_000;
const EVENTS: readonly (keyof Events)[] = [
  "ready", "message", "edited", "deleted", "marks", "unread", "typing", "presence", "roomAdded", "roomChanged",
  "roomRemoved", "custom", "outgoing", "connection", "error",
];

const base64url = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

export class Server {
  readonly #secret = randomBytes(32).toString("hex");
  readonly #key = randomBytes(32).toString("hex");
  #data = ""; // a folder
  #address = "127.0.0.1:0"; // a free port, and the same one again after a restart
  #process: ChildProcess | undefined;

  static async start(environment: Record<string, string> = {}): Promise<Server> {
    const server = new Server(environment);
    await server.start();
    return server;
  }

  private constructor(readonly environment: Record<string, string>) {}

  async start(): Promise<void> {
    const binary = process.env.PARLOR_BINARY;
    if (!binary) {
      throw new Error("these tests need a server: build one (cargo build --release) and set PARLOR_BINARY to its path, "
        + "PARLOR_BINARY=$PWD/../../target/release/parlor npm run test:server");
    }
    this.#data ||= mkdtempSync(join(tmpdir(), "parlor-client-"));
    const child = spawn(binary, ["serve"], {
      stdio: ["ignore", "ignore", "pipe"],
      env: {
        ...process.env,
        PARLOR__LISTEN: this.#address,
        PARLOR__ADMIN__LISTEN: "",
        PARLOR__MONGODB__DATA_DIR: this.#data,
        PARLOR__AUTH__SECRET: this.#secret,
        PARLOR__API__KEYS: this.#key,
        PARLOR__LOG__FORMAT: "json",
        PARLOR__LOG__FILTER: "info",
        ...this.environment,
      },
    });
    this.#process = child;
    process.once("exit", () => child.kill()); // also where the tests end before their time
    const log: string[] = [];
    for await (const line of createInterface({ input: child.stderr })) {
      const [, address] = line.match(/listening .*http:\/\/([\d.]+:\d+)/) ?? [];
      if (address) {
        this.#address = address;
        child.stderr.resume(); // or the pipe fills, and the server stands still
        return;
      }
      log.push(line);
    }
    throw new Error(`the server ended before it listened:\n${log.join("\n")}`);
  }

  async stop(): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGTERM");
    await gone;
  }

  async end(): Promise<void> {
    await this.stop();
    if (this.#data) rmSync(this.#data, { recursive: true, force: true });
  }

  get url(): string {
    return `ws://${this.#address}/ws/`;
  }

  token(userId: UserId, seconds = 3600): string {
    const now = Math.floor(Date.now() / 1000);
    const claims = { user_id: userId, email: `user${userId}@example.com`, iat: now, exp: now + seconds };
    const signed = `${base64url({ alg: "HS256", typ: "JWT" })}.${base64url(claims)}`;
    return `${signed}.${createHmac("sha256", this.#secret).update(signed).digest("base64url")}`;
  }

  async api(method: string, path: string, body?: object): Promise<Record<string, unknown>> {
    const response = await fetch(`http://${this.#address}/api/v1${path}`, {
      method,
      headers: { Authorization: `Bearer ${this.#key}`, "Content-Type": "application/json" },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text ? (JSON.parse(text) as Record<string, unknown>) : {};
  }

  async room(...users: UserId[]): Promise<number> {
    const members = users.map((user_id) => ({ user_id, email: `user${user_id}@example.com` }));
    return Number((await this.api("POST", "/rooms", { members })).room_id);
  }
}

/** A user who chats, and what has been heard. */
export class User {
  readonly chat: Parlor;
  readonly heard: string[] = [];
  readonly sockets: WebSocket[] = [];

  constructor(server: Server, readonly userId: UserId, options: Partial<ParlorOptions> = {}) {
    const { sockets } = this;
    class Watched extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        sockets.push(this);
      }
    }
    this.chat = new Parlor({
      url: server.url, token: async () => server.token(userId), WebSocket: Watched,
      random: () => 0, // no pause
      ...options,
    });
    for (const name of EVENTS) this.chat.on(name, (event) => this.heard.push(`${name} ${JSON.stringify(event, shortly)}`));
  }

  async connected(): Promise<this> {
    const ready = this.event("ready");
    this.chat.connect();
    await ready;
    return this;
  }

  room(id: number): Room {
    const room = this.chat.room(id);
    if (!room) throw new Error(`${this.userId} knows no room ${id}`);
    return room;
  }

  texts(id: number): string[] {
    return this.room(id).messages.map(({ text }) => text);
  }

  /** The next one of these that fits. */
  event<Name extends keyof Events>(name: Name, fits: (event: Events[Name]) => boolean = () => true): Promise<Events[Name]> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(this.#missed(`a ${name}`)), WITHIN);
      const off = this.chat.on(name, (event) => {
        if (!fits(event)) return;
        clearTimeout(late);
        off();
        resolve(event);
      });
    });
  }

  /** Waits until this holds; it is looked at with each event. */
  until(what: string, holds: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      if (holds()) return resolve();
      const late = setTimeout(() => reject(this.#missed(what)), WITHIN);
      const offs = EVENTS.map((name) => this.chat.on(name, () => {
        if (!holds()) return;
        clearTimeout(late);
        for (const off of offs) off();
        resolve();
      }));
    });
  }

  /** The network is gone for a moment. */
  cut(): void {
    this.sockets.at(-1)?.cut();
  }

  #missed(what: string): Error {
    return new Error(`${this.userId} waited in vain for ${what}; heard:\n  ${this.heard.join("\n  ")}`);
  }
}

/** A room by its id: the rest would hide what happened. */
function shortly(key: string, value: unknown): unknown {
  return key === "room" ? (value as Room).id : value;
}
