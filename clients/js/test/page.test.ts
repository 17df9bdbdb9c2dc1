import assert from "node:assert/strict";
import { test } from "node:test";

type Modules = Map<string, string>;
type Script = {
  modulesIn(folder: URL): Modules;
  modulesOfPage(): Modules;
  packagesOfPage(): Modules;
  installedPackages(): Modules;
};

const path = new URL("../../scripts/page.mjs", import.meta.url).href;

test("the server's page has the library as it is: npm run page", async () => {
  const { modulesIn, modulesOfPage } = (await import(path)) as Script;
  // `npm test` has just compiled the library's modules into a folder beside these tests, with the settings of a build.
  const [built, page] = [modulesIn(new URL("../src/", import.meta.url)), modulesOfPage()];
  assert.deepEqual([...page.keys()], [...built.keys()]);
  for (const [name, text] of built) assert.equal(page.get(name), text, name);
});

test("the server's page has its packages as they are installed: npm run page", async () => {
  const { packagesOfPage, installedPackages } = (await import(path)) as Script;
  assert.deepEqual(packagesOfPage(), installedPackages());
});
