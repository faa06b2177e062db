// SPDX-License-Identifier: Apache-2.0
/**
 * The BIND of a member: the one file of TSIG keys that its named.conf includes. The node agent answers. What is to be in the file comes as
 * data, which the node writes out itself: whoever may give this order can set keys and lists of fixed names, and no other statement.
 */
import { z } from "zod";
import { TsigAlgorithm, TsigKeyName } from "./dns-data.ts";
import { contract, operation } from "./kit.ts";
import { Sha256 } from "./primitives.ts";

/** Lists of keys by which named.conf says who may do what, so that it need not change with the keys. */
export const KeyAcl = z.enum(["debvisor-node", "debvisor-vm", "debvisor-transfer"]);
export type KeyAcl = z.output<typeof KeyAcl>;

/** Lists of servers, with the key that signs what is sent to them: whence a secondary copies, whom a primary tells. */
export const ServerList = z.enum(["debvisor-primaries", "debvisor-secondaries"]);
export type ServerList = z.output<typeof ServerList>;

/** What the file of keys is to hold. */
export const KeysFile = z.strictObject({
  keys: z
    .array(
      z.strictObject({
        name: TsigKeyName,
        algorithm: TsigAlgorithm,
        secret: z.base64().min(1).max(200).describe("Secret, base64. Recorded nowhere."),
      }),
    )
    .max(16)
    .describe("Keys, in order."),
  acls: z
    .array(z.strictObject({ name: KeyAcl, keys: z.array(TsigKeyName).max(16) }))
    .max(3)
    .describe("Which keys are in which list."),
  lists: z
    .array(
      z.strictObject({
        name: ServerList,
        servers: z
          .array(
            z.strictObject({
              address: z.union([z.ipv4(), z.ipv6()]),
              port: z.number().int().min(1).max(65_535),
              key: TsigKeyName.nullable(),
            }),
          )
          .max(64),
      }),
    )
    .max(2)
    .describe("Servers, with the keys that sign what is sent to them."),
});
export type KeysFile = z.output<typeof KeysFile>;

/** What the file of keys holds, without secrets. */
export const KeysHeld = z.object({
  file: z.string(),
  mode: z.string().nullable().describe("Permission bits, octal, four digits; null when there is no file."),
  sha256: Sha256.nullable().describe("Of the content; null when there is no file."),
  keys: z.array(z.object({ name: z.string(), fingerprint: z.string() })),
  fault: z.string().nullable().describe("Why the nameserver here cannot be told to read it; null when it can."),
});
export type KeysHeld = z.output<typeof KeysHeld>;

export const nameserverContract = contract({
  service: "nameserver",
  summary: "The file of TSIG keys of the BIND on a member.",
  implementedBy: "node-agent",
  operations: {
    getKeys: operation({
      summary:
        "Say which keys the BIND of this node has from the cluster, by fingerprint, and whether it can be told of new ones.",
      scope: "node",
      effect: "read",
      idempotent: true,
      timeoutMs: 5_000,
      permission: "nameserver:keys:get",
      role: "admin",
      input: z.strictObject({}),
      output: KeysHeld,
      errors: ["PATH_REFUSED", "TOOL_FAILED"],
      http: null,
      cli: null,
    }),
    setKeys: operation({
      summary: "Write the keys of the BIND of this node and have it read them; the engine's order to a node.",
      scope: "node",
      effect: "change",
      idempotent: true,
      timeoutMs: 15_000,
      permission: "nameserver:keys:set",
      role: "admin",
      input: KeysFile,
      output: KeysHeld,
      errors: ["PATH_REFUSED", "COMMAND_REFUSED", "COMMAND_FENCED", "TOOL_FAILED", "TOOL_MISSING"],
      http: null,
      cli: null,
    }),
  },
  events: {},
});
