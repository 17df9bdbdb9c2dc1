// Checks that the tool `openapi-typescript` can generate types from the HTTP API's description (config/openapi.json).
// The Rust test tests/it/http/generated_client.rs generates a client with another tool, and calls the API with this
// client.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import ts from "typescript";

// The path is relative to clients/js/.test/test, the folder of the compiled test.
const description = fileURLToPath(new URL("../../../../config/openapi.json", import.meta.url));
const tool = fileURLToPath(new URL("../../node_modules/openapi-typescript/bin/cli.js", import.meta.url));

type Described = { paths: Record<string, Record<string, { operationId: string }>>; components: { schemas: object } };

test("types are generated of every operation and schema, without a warning", async (context) => {
  const folder = await mkdtemp(join(tmpdir(), "parlor-openapi-"));
  context.after(() => rm(folder, { recursive: true }));
  const generated = join(folder, "api.ts");
  const { stderr } = await promisify(execFile)(process.execPath, [tool, description, "--output", generated], { timeout: 60_000 });
  assert.doesNotMatch(stderr, /warn|error|\u26a0/i);
  const types = await readFile(generated, "utf8");
  const { paths, components } = JSON.parse(await readFile(description, "utf8")) as Described;
  const operations = Object.values(paths).flatMap((item) => Object.values(item));
  for (const name of [...operations.map((operation) => operation.operationId), ...Object.keys(components.schemas)]) {
    assert.match(types, new RegExp(`^ +${name}: `, "m"), name);
  }

  const uses = `import type { components, operations } from "./api.js";
    type Listed = components["schemas"]["ListedRoom"];
    export const none: Listed["last_message"] = null;
    export const seen: components["schemas"]["User"]["last_seen"] = null;
    export const role: components["schemas"]["Membership"]["role"] = "admin";
    export const sent: operations["post_message"]["requestBody"]["content"]["application/json"] =
      { sender_id: "bot:weather", text: "Rain", as: "service" };
  `;
  const file = join(folder, "uses.ts");
  await writeFile(file, uses);
  const options: ts.CompilerOptions = {
    strict: true, noEmit: true, module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022, types: [],
  };
  const program = ts.createProgram([file], options);
  const faults = ts.getPreEmitDiagnostics(program).map((fault) => ts.flattenDiagnosticMessageText(fault.messageText, "\n"));
  assert.deepEqual(faults, []);
});
