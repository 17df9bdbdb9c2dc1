// As much of a WebSocket client (RFC 6455) as the tests need: Node 20 has none of its own.

import { createHash, randomBytes } from "node:crypto";
import { request } from "node:http";
import type { Socket as TcpSocket } from "node:net";
import type { Socket } from "../../src/index.js";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // section 1.3
const [CONTINUED, TEXT, CLOSE, PING, PONG] = [0x0, 0x1, 0x8, 0x9, 0xa]; // section 5.2

type Listeners = {
  open: (() => void)[];
  message: ((event: { data: string }) => void)[];
  error: (() => void)[];
  close: ((event: { code: number; reason: string }) => void)[];
};

export class WebSocket implements Socket {
  #tcp: TcpSocket | undefined;
  #received = Buffer.alloc(0);
  #parts: Buffer[] = [];
  #over = false;
  #closing = false;
  readonly #listeners: Listeners = { open: [], message: [], error: [], close: [] };

  constructor(url: string, protocols: string[]) {
    const key = randomBytes(16).toString("base64");
    const headers = {
      Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": key, "Sec-WebSocket-Protocol": protocols.join(", "),
    };
    const handshake = request(url.replace(/^ws/, "http"), { headers, agent: false });
    handshake.on("upgrade", (response, tcp, head) => {
      const accept = createHash("sha1").update(key + GUID).digest("base64");
      if (response.headers["sec-websocket-accept"] !== accept || response.headers["sec-websocket-protocol"] !== protocols[0]) {
        return this.#fail("the handshake is wrong");
      }
      this.#tcp = tcp;
      tcp.on("data", (data) => this.#data(data)).on("error", () => {}).on("close", () => this.#end(1006, ""));
      for (const listener of this.#listeners.open) listener();
      this.#data(head);
      if (this.#closing) this.close();
    });
    handshake.on("response", (response) => this.#fail(`status ${response.statusCode}`));
    handshake.on("error", (error) => this.#fail(error.message));
    handshake.end();
  }

  addEventListener(type: "open" | "error", listener: () => void): void;
  addEventListener(type: "message", listener: (event: { data: string }) => void): void;
  addEventListener(type: "close", listener: (event: { code: number; reason: string }) => void): void;
  addEventListener(type: keyof Listeners, listener: (event: never) => void): void {
    (this.#listeners[type] as ((event: never) => void)[]).push(listener);
  }

  send(text: string): void {
    this.#write(TEXT, Buffer.from(text));
  }

  close(): void {
    this.#closing = true;
    this.#write(CLOSE, Buffer.from([0x03, 0xe8])); // 1000
  }

  /** The network is gone, without a word. */
  cut(): void {
    this.#tcp?.destroy();
  }

  #write(opcode: number, payload: Buffer): void {
    const mask = randomBytes(4); // section 5.3: all that a client says
    const masked = payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0));
    const long = payload.length > 0xffff ? 127 : payload.length > 125 ? 126 : payload.length;
    const length = Buffer.alloc(long === 127 ? 8 : long === 126 ? 2 : 0);
    if (long === 127) length.writeBigUInt64BE(BigInt(payload.length));
    if (long === 126) length.writeUInt16BE(payload.length);
    this.#tcp?.write(Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | long]), length, mask, masked]));
  }

  #data(data: Buffer): void {
    this.#received = Buffer.concat([this.#received, data]);
    for (;;) {
      const buffer = this.#received;
      if (buffer.length < 2) return;
      const [first = 0, short = 0] = buffer;
      const start = short === 127 ? 10 : short === 126 ? 4 : 2;
      if (buffer.length < start) return;
      const length = short === 127 ? Number(buffer.readBigUInt64BE(2)) : short === 126 ? buffer.readUInt16BE(2) : short;
      if (buffer.length < start + length) return;
      this.#received = buffer.subarray(start + length);
      this.#frame(first & 0x0f, (first & 0x80) !== 0, buffer.subarray(start, start + length));
    }
  }

  #frame(opcode: number, final: boolean, payload: Buffer): void {
    if (opcode === PING) return this.#write(PONG, payload);
    if (opcode === CLOSE) {
      const code = payload.length >= 2 ? payload.readUInt16BE() : 1005;
      if (!this.#closing) this.#write(CLOSE, payload.subarray(0, 2));
      this.#tcp?.end();
      return this.#end(code, payload.subarray(2).toString());
    }
    if (opcode !== TEXT && opcode !== CONTINUED) return;
    this.#parts.push(payload);
    if (!final) return;
    const data = Buffer.concat(this.#parts.splice(0)).toString();
    for (const listener of this.#listeners.message) listener({ data });
  }

  /** An error that nobody listens to is thrown, as Node's `ws` does. */
  #fail(reason: string): void {
    if (this.#listeners.error.length === 0) throw new Error(reason);
    for (const listener of this.#listeners.error) listener();
    this.#end(1006, reason);
  }

  #end(code: number, reason: string): void {
    if (this.#over) return;
    this.#over = true;
    for (const listener of this.#listeners.close) listener({ code, reason });
  }
}
