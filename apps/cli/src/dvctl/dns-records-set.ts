// SPDX-License-Identifier: Apache-2.0
/** `dvctl dns records set`, `delete` and `change`: change sets of one, and any. */
import { dnsContract } from "@debvisor/proto-events/dns";
import { RecordChange } from "@debvisor/proto-events/dns-data";
import type { CommandSpec } from "../command.ts";
import { reportServers } from "../dns-changes.ts";
import { durableCommand, type Refinement } from "../durable-command.ts";

const { changeRecords } = dnsContract.operations;
const operation = { service: dnsContract.service, wire: "change-records", spec: changeRecords };
const { name, type, data, ttl, ptr } = RecordChange.shape;

export const dnsRecordsChange = durableCommand(operation, { succeeded: reportServers });

export const dnsRecordsSet = oneRecord("set", { name, data, type, ttl, ptr }, [
  { command: "dvctl dns records set web1 192.0.2.7 --ptr", does: "Give web1 an address, and the address its name." },
  { command: "dvctl dns records set web1 192.0.2.7,192.0.2.8 --ttl 300", does: "Give it two, for five minutes each." },
  {
    command: "dvctl dns records set web1 192.0.2.7 --lower-ttl --ttl 600",
    does: "Have caches forget the old one first.",
  },
  { command: 'dvctl dns records set _dmarc "v=DMARC1; p=none" --type TXT', does: "Set a text." },
]);

export const dnsRecordsDelete = oneRecord("delete", { name, data, type, ptr }, [
  { command: "dvctl dns records delete web1 192.0.2.7 --ptr", does: "Take one address away, and its PTR." },
  { command: "dvctl dns records delete web1 --type A", does: "Take all its IPv4 addresses away." },
]);

function oneRecord(
  action: "set" | "delete",
  fields: NonNullable<Refinement["fields"]>,
  examples: CommandSpec["help"]["examples"],
): CommandSpec {
  return durableCommand(operation, {
    words: { noun: "dns", verb: `records ${action}`, args: ["name", "data"] },
    fields: { changes: undefined, ...fields },
    help: { ...changeRecords.cli, scenarios: [], examples },
    prepare: ({ name: host, data: values, type: kind, ttl: seconds, ptr: reverse, ...rest }) => {
      const change = { action, name: host, data: values, type: kind, ttl: seconds, ptr: reverse };
      const given = Object.entries(change).filter(([, value]) => value !== undefined);
      return { fields: { ...rest, changes: [Object.fromEntries(given)] } };
    },
    succeeded: reportServers,
  });
}
