// SPDX-License-Identifier: Apache-2.0
import type { JoinChannel } from "@debvisor/shared/join/channel";
import { createLogger } from "@debvisor/shared/log";
import { expect, test } from "vitest";
import { Contacts } from "./contacts.ts";

const PORT = 8422;

test("of ten thousand places 64 are remembered, eight dialled at once and none twice; a preseeded one stays", async () => {
  const open = new Map<string, () => void>();
  const dialled = new Set<string>();
  let [most, twice] = [0, 0];
  const contacts = new Contacts({
    self: "a".repeat(16),
    dial: (host) => {
      if (open.has(host)) twice++;
      dialled.add(host);
      return new Promise<JoinChannel>((_, reject) => {
        open.set(host, () => {
          open.delete(host);
          reject(new Error("nobody is there"));
        });
        most = Math.max(most, open.size);
      });
    },
    onChannel: () => undefined,
    log: createLogger({ level: "silent" }),
  });
  contacts.add("preseeded", PORT, true);
  for (let n = 0; n < 10_000; n++) contacts.add(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`, PORT);

  // Nobody answers: what is dialled comes to nothing, and all the others get their turn.
  for (let turn = 0; turn < 100; turn++) {
    contacts.dialDue();
    contacts.dialDue();
    for (const fail of [...open.values()]) fail();
    await new Promise(setImmediate);
  }
  contacts.close();

  expect([most, twice]).toEqual([8, 0]);
  expect(dialled.size).toBe(64);
  expect(dialled).toContain("preseeded");
});
