import assert from "node:assert/strict";
import { test } from "node:test";

type Modules = Map<string, string>;
type Script = { modulesIn(folder: URL): Modules; modulesOfPage(): Modules };

test("the server's page has the library as it is: npm run page", async () => {
  const path = new URL("../../scripts/page.mjs", import.meta.url).href;
  const { modulesIn, modulesOfPage } = (await import(path)) as Script;
  // What these tests run on was just compiled, with the settings that a build has.
  const [built, page] = [modulesIn(new URL("../src/", import.meta.url)), modulesOfPage()];
  assert.deepEqual([...page.keys()], [...built.keys()]);
  for (const [name, text] of built) assert.equal(page.get(name), text, name);
});
