// The script of `npm run page`, which builds the library before it runs this script. The messenger, the chat page that
// is part of Parlor, uses this library. The script copies the compiled library, and the packages that the messenger
// uses, into the server's assets. The copies are checked in, so that a build of the server needs no Node. A test fails
// if the copies are outdated.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { argv } from "node:process";
import { fileURLToPath } from "node:url";

const BUILT = new URL("../dist/", import.meta.url);
const PAGE = new URL("../../../src/http/demo/assets/parlor/", import.meta.url);
const VENDOR = new URL("../../../src/http/demo/assets/vendor/", import.meta.url);

/** The packages of the messenger: the name of the copy, and the paths of the module and its licence in node_modules. */
const PACKAGES = { "linkify.js": ["linkifyjs/dist/linkify.mjs", "linkifyjs/LICENSE"] };

/**
 * Returns the texts of the modules in a folder, by file name. Leaves out modules that only have types, because no
 * module loads them.
 */
export function modulesIn(folder) {
  const names = readdirSync(folder).filter((name) => name.endsWith(".js")).sort();
  const modules = names.map((name) => [name, readFileSync(new URL(name, folder), "utf8")]);
  return new Map(modules.filter(([, text]) => text.replace(/^\/\/.*$/gm, "").trim() !== "export {};"));
}

export const modulesOfPage = () => modulesIn(PAGE);
export const packagesOfPage = () => modulesIn(VENDOR);

/** Returns the texts of the installed packages, by the name of the copy. Each text begins with its licence. */
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
