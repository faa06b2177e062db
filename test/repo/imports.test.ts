// SPDX-License-Identifier: Apache-2.0
/** Imports obey table B2 of the style guide (D6.1), and models are pure. */
import path from "node:path";
import { describe, expect, it } from "vitest";
import { importsOf, resolveImport, violation, type Workspaces } from "./import-rules.ts";
import {
  dottedName,
  parseSource,
  placeOf,
  readText,
  repositoryFiles,
  type SyntaxNode,
  sourceFiles,
} from "./source-tree.ts";

const workspaces: Workspaces = new Map(
  repositoryFiles()
    .filter((file) => /^(?:proto-events|shared|services\/[^/]+|apps\/[^/]+)\/package\.json$/.test(file))
    .map((file) => [String(JSON.parse(readText(file)).name), path.posix.dirname(file)]),
);

/** Reads the clock, a timer or random numbers without being given them. */
function isImpure(node: SyntaxNode): boolean {
  if (node.type === "NewExpression") {
    return dottedName(node["callee"]) === "Date" && (node["arguments"] as readonly unknown[]).length === 0;
  }
  if (node.type !== "CallExpression") return false;
  const called = dottedName(node["callee"]) ?? "";
  return /^(?:Date\.now|Math\.random|performance\.now|(?:globalThis\.)?set(?:Timeout|Interval|Immediate)|random\w+|crypto\.(?:random\w+|getRandomValues))$/.test(
    called,
  );
}

describe("imports", () => {
  it("obey the dependency table", () => {
    const found = sourceFiles().flatMap((file) =>
      importsOf(file).flatMap(({ specifier, node }) => {
        const reason = violation(file.path, resolveImport(file.path, specifier, workspaces));
        return reason === undefined ? [] : [`${placeOf(file, node)} imports ${specifier}: ${reason}`];
      }),
    );

    expect(found).toEqual([]);
  });

  it("leave models without clock, timers and random numbers", () => {
    const models = sourceFiles().filter((file) => /^services\/[^/]+\/model\/.*(?<!\.test)\.ts$/.test(file.path));

    const found = models.flatMap((file) => file.nodes.filter(isImpure).map((node) => placeOf(file, node)));

    expect(found).toEqual([]);
  });
});

describe("the dependency table", () => {
  const names: Workspaces = new Map([
    ["@debvisor/proto-events", "proto-events"],
    ["@debvisor/shared", "shared"],
    ["@debvisor/vm", "services/vm"],
    ["@debvisor/dns", "services/dns"],
    ["@debvisor/cli", "apps/cli"],
  ]);
  const judge = (from: string, specifier: string): string | undefined =>
    violation(from, resolveImport(from, specifier, names));

  it.each([
    ["services/vm/operations/a.ts", "../../dns/model/zone.ts"],
    ["services/vm/operations/a.ts", "@debvisor/dns/service.ts"],
    ["services/vm/operations/a.ts", "../../../shared/src/errors.ts"],
    ["services/vm/operations/a.ts", "@nats-io/jetstream"],
    ["services/vm/a.test.ts", "../../test/support/nats.ts"],
    ["services/vm/model/a.ts", "node:fs/promises"],
    ["services/vm/model/a.ts", "@debvisor/shared/bus/bus"],
    ["services/vm/model/a.ts", "../drivers/libvirt.ts"],
    ["services/vm/drivers/libvirt.ts", "@debvisor/shared/bus/bus"],
    ["services/vm/drivers/libvirt.ts", "./qemu-img.ts"],
    ["services/vm/drivers/libvirt.ts", "../operations/a.ts"],
    ["services/vm/drivers/libvirt.ts", "fastify"],
    ["services/vm/drivers/libvirt.ts", "@debvisor/proto-events/vm"],
    ["shared/src/a.ts", "@debvisor/vm/service.ts"],
    ["shared/src/a.ts", "@nats-io/transport-node"],
    ["proto-events/src/a.ts", "node:crypto"],
    ["proto-events/src/a.ts", "@debvisor/shared/errors"],
    ["apps/cli/src/a.ts", "@debvisor/vm/service.ts"],
    ["apps/lab/src/a.ts", "../../../services/vm/operations/a.ts"],
    ["tools/a.ts", "../services/vm/service.ts"],
  ])("refuses in %s an import of %s", (from, specifier) => {
    expect(judge(from, specifier)).toEqual(expect.any(String));
  });

  it.each([
    ["services/vm/operations/a.ts", "@debvisor/proto-events/vm"],
    ["services/vm/operations/a.ts", "../drivers/libvirt.ts"],
    ["services/vm/operations/a.ts", "@debvisor/shared/bus/bus"],
    ["services/vm/model/a.ts", "./b.ts"],
    ["services/vm/model/a.ts", "@debvisor/proto-events/vm"],
    ["services/vm/model/a.ts", "@debvisor/shared/errors"],
    ["services/vm/model/a.test.ts", "node:fs"],
    ["services/vm/drivers/libvirt.ts", "./libvirt-xml.ts"],
    ["services/vm/drivers/libvirt.ts", "@debvisor/shared/exec"],
    ["services/vm/drivers/libvirt.ts", "@debvisor/proto-events/primitives"],
    ["services/vm/drivers/libvirt.ts", "node:net"],
    ["shared/src/bus/a.ts", "@nats-io/transport-node"],
    ["proto-events/src/a.ts", "zod"],
    ["proto-events/src/a.test.ts", "fast-check"],
    ["apps/lab/src/a.ts", "../../../services/vm/service.ts"],
    ["apps/lab/src/a.ts", "@debvisor/vm/service.ts"],
    ["apps/cli/bin/dvctl.cjs", "../../../tools/node26.cjs"],
    ["test/e2e/a.test.ts", "../../services/vm/service.ts"],
    ["tools/a.ts", "@debvisor/shared/errors"],
  ])("allows in %s an import of %s", (from, specifier) => {
    expect(judge(from, specifier)).toBeUndefined();
  });

  it("sees every way to import, and no comment or string", () => {
    const text = `
      import a from "./a.ts"; import type { B } from "./b.ts"; export * from "./c.ts"; export { d } from "./d.ts";
      const e = await import("./e.ts"); let f: import("./f.ts").F; const g = require("./g.cjs");
      // import h from "./h.ts"
      const i = 'import i from "./i.ts"';`;

    const specifiers = importsOf(parseSource("x.ts", text)).map((found) => found.specifier);

    expect(specifiers.sort()).toEqual(["./a.ts", "./b.ts", "./c.ts", "./d.ts", "./e.ts", "./f.ts", "./g.cjs"]);
  });
});
