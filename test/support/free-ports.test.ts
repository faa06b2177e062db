// SPDX-License-Identifier: Apache-2.0
import { once } from "node:events";
import { createServer } from "node:net";
import path from "node:path";
import { execa } from "execa";
import { expect, test } from "vitest";
import { freeBasePort, freePorts } from "./free-ports.ts";

const MODULE = path.join(import.meta.dirname, "free-ports.ts");

test("no other process gets a port that somebody has, though nothing listens there", async () => {
  // So many that two who knew nothing of each other would have some in common.
  const own = await freePorts(500);
  const script = `console.log((await (await import(${JSON.stringify(MODULE)})).freePorts(500)).join());`;
  const { stdout } = await execa(process.execPath, ["--input-type=module", "--eval", script], { stdin: "ignore" });

  expect(new Set([...own, ...stdout.split(",").map(Number)]).size).toBe(1_000);
});

test("neighbours are free, each of them", async () => {
  const first = await freeBasePort(3);
  const servers = await Promise.all(
    [0, 1, 2].map(async (i) => {
      const server = createServer().listen(first + i, "127.0.0.1");
      await once(server, "listening");
      return server;
    }),
  );
  for (const server of servers) server.close();
  expect(servers).toHaveLength(3);
});
