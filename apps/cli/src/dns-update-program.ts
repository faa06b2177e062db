// SPDX-License-Identifier: Apache-2.0
/**
 * `debvisor-dns-update HOST ADDRESS [add|delete]` (REQUIREMENTS DNS-01 to DNS-06): an address and its PTR as one change that is
 * verified on every server, and undone with `--rollback`.
 */
import { dnsContract } from "@debvisor/proto-events/dns";
import { RecordChange } from "@debvisor/proto-events/dns-data";
import { renderTable, valueAt } from "@debvisor/shared/table";
import { z } from "zod";
import { type Call, type CommandSpec, EXIT, type Program } from "./command.ts";
import { refuseChangedSince, reportServers } from "./dns-changes.ts";
import { durableCommand } from "./durable-command.ts";
import { LATEST, newestOf } from "./operation-latest.ts";
import { storeKeyFile } from "./tsig-key-store.ts";

const { changeRecords, listChanges } = dnsContract.operations;
const TYPE = "dns.change-records";
const LIMIT_MS = listChanges.timeoutMs + 3_000;

/** The program `debvisor-dns-update`. */
export function dnsUpdateProgram(): Program {
  return {
    name: "debvisor-dns-update",
    summary: "changes the address of a host in DNS, and its PTR.",
    single: true,
    takes: ["server"],
    commands: [command],
  };
}

const base = durableCommand(
  { service: dnsContract.service, wire: "change-records", spec: changeRecords },
  {
    words: { noun: "", args: ["host", "address", "action"] },
    fields: {
      changes: undefined,
      servers: undefined,
      host: RecordChange.shape.name.describe("Host name, in the zone unless it ends in it."),
      address: z.string().min(1).max(64).describe("IPv4 or IPv6 address."),
      action: z.enum(["add", "delete"]).default("add").describe("add is implied."),
      ttl: RecordChange.shape.ttl,
      server: z
        .array(z.string().min(1).max(64))
        .max(32)
        .optional()
        .describe("Only this server, by name or address; may be repeated."),
      key: z
        .string()
        .min(1)
        .optional()
        .describe("File with the TSIG key (mode 0600) that signs the update; it is stored."),
      listChanges: z.boolean().default(false).describe("Only list the changes that were made."),
    },
    labels: { server: "--server" },
    help: {
      ...changeRecords.cli,
      scenarios: [],
      examples: [
        { command: "debvisor-dns-update web1 192.168.1.100", does: "Set address and PTR of web1." },
        {
          command:
            "debvisor-dns-update web1 192.168.1.100 --ttl=300 --zone debvisor.local --server ns1 --server ns2 --key dv.key",
          does: "For five minutes at a time, on these servers, signed by this key.",
        },
        { command: "debvisor-dns-update web1 192.168.1.100 delete", does: "Take both away." },
        {
          command: "debvisor-dns-update web1 192.168.1.101 --lower-ttl",
          does: "Have caches forget the old address first: lower its time to live, wait for the old one, change, restore.",
        },
        { command: "debvisor-dns-update --list-changes", does: "Show what was changed." },
        {
          command: "debvisor-dns-update --rollback",
          does: "Undo your latest change, unless somebody changed it since.",
        },
      ],
      undo: "debvisor-dns-update --rollback",
    },
    prepare: async ({ host, address, action, ttl, server, key, listChanges: _list, ...rest }, call) => {
      const change = { action: action === "delete" ? "delete" : "set", name: host, data: [address], ptr: true };
      const signed = typeof key === "string" ? { key: (await storeKeyFile(key, call)).name } : {};
      return {
        fields: {
          ...rest,
          ...signed,
          ...(server === undefined ? {} : { servers: server }),
          changes: [{ ...change, ...(ttl === undefined || action === "delete" ? {} : { ttl }) }],
        },
      };
    },
    succeeded: reportServers,
  },
);

const command: CommandSpec = {
  ...base,
  summary: "Set or delete the address of a host and its PTR, verified on every server; or undo a change.",
  alone: [...(base.alone ?? []), "listChanges"],
  run: async (call) => {
    if (call.given["listChanges"] === true) return await showChanges(call);
    const { rollback, host } = call.given;
    if (typeof rollback !== "string") return await base.run(call);
    // `--rollback CHANGE`: the word after it is read as the first argument.
    const named = rollback === LATEST && typeof host === "string" ? host : rollback;
    const change = named === LATEST ? (await newestOf([TYPE], call, true))?.id : named;
    if (change !== undefined) await refuseChangedSince(change, call);
    return await base.run({ ...call, given: { ...call.given, rollback: change ?? LATEST } });
  },
};

async function showChanges(call: Call): Promise<number> {
  const reply = await call.client().request({ method: "GET", path: listChanges.http?.path ?? "", timeoutMs: LIMIT_MS });
  const { output } = call;
  const items = valueAt(reply.body, "items");
  const style = { color: output.color, nowMs: Date.now() };
  const rows = Array.isArray(items) ? items : [];
  output.result(reply.body, () => renderTable(listChanges.cli?.columns ?? [], rows, style), reply.text);
  if (rows.length === 0) output.info("nothing to list");
  return EXIT.ok;
}
