/** What is used of a WebSocket: a browser's, or any class that does this much. */
export interface Socket {
  send(data: string): void;
  close(): void;
  addEventListener(type: "open" | "error", listener: () => void): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  addEventListener(type: "close", listener: (event: { code: number; reason: string }) => void): void;
}

export type SocketClass = new (url: string, protocols: string[]) => Socket;
