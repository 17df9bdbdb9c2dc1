import assert from "node:assert/strict";
import { test } from "node:test";

type Generator = { generate(asyncapi: unknown): string; readSource(): unknown; readTarget(): string };

// The script is loaded from the package's folder, because the compiler does not copy it into the folder of the compiled
// tests.
const { generate, readSource, readTarget } = (await import(new URL("../../scripts/types.mjs", import.meta.url).href)) as Generator;

test("src/wire.ts is what the server's description makes: npm run types", () => {
  assert.equal(readTarget(), generate(readSource()));
});

const describe = (payload: object, schemas: object = {}): string =>
  generate({ components: { messages: { a_frame: { payload } }, schemas }, operations: {}, channels: {} });

test("schemas become types", () => {
  const made = describe({
    type: "object",
    description: "What it is.",
    required: ["type", "ids"],
    properties: {
      type: { const: "a" },
      ids: { type: "array", items: { oneOf: [{ type: "integer" }, { type: "string" }] } },
      name: { type: ["string", "null"] },
      "odd-name": { anyOf: [{ $ref: "#/components/schemas/room" }, { type: "null" }] },
      pair: { type: "array", prefixItems: [{ type: "number" }, { type: "boolean" }] },
      free: {},
      kind: { enum: ["x", "y"] },
    },
  }, { room: { type: "object", additionalProperties: { type: "integer" } } });
  assert.ok(made.includes(`/** What it is. */
export type AFrameFrame = {
  type: "a";
  ids: (number | string)[];
  name?: string | null;
  "odd-name"?: Room | null;
  pair?: [number, boolean];
  free?: unknown;
  kind?: "x" | "y";
};`), made);
  assert.ok(made.includes("export type Room = {\n  [key: string]: number;\n};"), made);
});

test("what holds besides a choice is no part of the choice", () => {
  const made = describe({
    type: "object",
    properties: { a: { type: "string" } },
    oneOf: [{ type: "object", properties: { b: { type: "null" } } }, { type: "object", properties: { c: { type: "null" } } }],
  });
  assert.match(made, /= \(\{\n {2}b\?: null;\n\} \| \{\n {2}c\?: null;\n\}\) & \{\n {2}a\?: string;\n\};/);
});

test("what the generator doesn't know stops it", () => {
  assert.throws(() => describe({ type: "colour" }), /an unknown type: "colour"/);
  assert.throws(() => describe({ $ref: "#/elsewhere" }), /no type here/);
});
