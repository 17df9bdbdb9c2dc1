/**
 * The part of the WebSocket interface that this library uses. The browser's class and any class with these members
 * work.
 */
export interface Socket {
  send(data: string): void;
  close(): void;
  addEventListener(type: "open" | "error", listener: () => void): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  addEventListener(type: "close", listener: (event: { code: number; reason: string }) => void): void;
}

export type SocketClass = new (url: string, protocols: string[]) => Socket;
