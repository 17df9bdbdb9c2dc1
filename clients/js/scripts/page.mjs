// Puts the compiled library, and the packages that the messenger uses, where the server's page loads them from:
// `npm run page`, after a build. They are checked in there, so that the server is built without Node. A test fails if
// the files there differ.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { argv } from "node:process";
import { fileURLToPath } from "node:url";

const BUILT = new URL("../dist/", import.meta.url);
const PAGE = new URL("../../../src/http/demo/assets/parlor/", import.meta.url);
const VENDOR = new URL("../../../src/http/demo/assets/vendor/", import.meta.url);

/** The packages of the page: the name of the file there, and its module and licence in node_modules. */
const PACKAGES = { "linkify.js": ["linkifyjs/dist/linkify.mjs", "linkifyjs/LICENSE"] };

/** What is in a folder of modules, by name; without those of types alone, which nothing loads. */
export function modulesIn(folder) {
  const names = readdirSync(folder).filter((name) => name.endsWith(".js")).sort();
  const modules = names.map((name) => [name, readFileSync(new URL(name, folder), "utf8")]);
  return new Map(modules.filter(([, text]) => text.replace(/^\/\/.*$/gm, "").trim() !== "export {};"));
}

export const modulesOfPage = () => modulesIn(PAGE);
export const packagesOfPage = () => modulesIn(VENDOR);

/** The packages as they are installed, by the name of the file. Each file begins with its licence. */
export function installedPackages() {
  const read = (path) => readFileSync(new URL(`../node_modules/${path}`, import.meta.url), "utf8");
  const entries = Object.entries(PACKAGES);
  return new Map(entries.map(([name, [module, licence]]) => [name, `/*!\n${read(licence).trim()}\n*/\n${read(module)}`]));
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  for (const [folder, modules] of [[PAGE, modulesIn(BUILT)], [VENDOR, installedPackages()]]) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    for (const [name, text] of modules) writeFileSync(new URL(name, folder), text);
  }
}
