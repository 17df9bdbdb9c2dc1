// Puts the compiled library where the server's page loads it from: `npm run page`, after a build. It is checked in
// there, so that the server is built without Node, and a test fails when it differs from what src makes.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { argv } from "node:process";
import { fileURLToPath } from "node:url";

const BUILT = new URL("../dist/", import.meta.url);
const PAGE = new URL("../../../src/http/demo/assets/parlor/", import.meta.url);

/** What is in a folder of modules, by name; without those of types alone, which nothing loads. */
export function modulesIn(folder) {
  const names = readdirSync(folder).filter((name) => name.endsWith(".js")).sort();
  const modules = names.map((name) => [name, readFileSync(new URL(name, folder), "utf8")]);
  return new Map(modules.filter(([, text]) => text.replace(/^\/\/.*$/gm, "").trim() !== "export {};"));
}

export const modulesOfPage = () => modulesIn(PAGE);

if (argv[1] === fileURLToPath(import.meta.url)) {
  rmSync(PAGE, { recursive: true, force: true });
  mkdirSync(PAGE, { recursive: true });
  for (const [name, text] of modulesIn(BUILT)) writeFileSync(new URL(name, PAGE), text);
}
