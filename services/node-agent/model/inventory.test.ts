// SPDX-License-Identifier: Apache-2.0
/** Files that set machines up: a misspelt key is refused by name. */

import { randomBytes } from "node:crypto";
import { Preseed } from "@debvisor/shared/join/preseed";
import { expect, test } from "vitest";
import { inventoryFile } from "./inventory.ts";

test("accepts what the requirements name", () => {
  const preseed = {
    ...{ cluster: "c", secret: randomBytes(32).toString("base64"), servers: 3 },
    role: "server",
    profile: "storage",
    network: { eth0: { address: "192.0.2.2/24" } },
    ceph: { init: true, monitors: ["192.0.2.2"], osds: ["/dev/sdb"] },
    k8s: { init: false, endpoint: "192.0.2.9:6443" },
    addons: ["dashboard"],
    adminKeys: ["ssh-ed25519 AAAA"],
  };
  const hosts = [{ name: "node-1", address: "192.0.2.2", roles: ["ceph"], rack: "r1", zone: "z1" }];

  expect(Preseed.safeParse(preseed).success).toBe(true);
  expect(inventoryFile.safeParse({ hosts }).success).toBe(true);
});

test("refuses keys that it does not know", () => {
  expect(Preseed.safeParse({ ceph: { intit: true } }).error?.issues).toContainEqual(
    expect.objectContaining({ keys: ["intit"] }),
  );
  expect(inventoryFile.safeParse({ hosts: [{ name: "node-1" }] }).error?.issues[0]?.path).toEqual([
    "hosts",
    0,
    "address",
  ]);
});
