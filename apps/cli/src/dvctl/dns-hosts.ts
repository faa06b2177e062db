// SPDX-License-Identifier: Apache-2.0
/** `dvctl dns hosts register` and `deregister`: the contract's commands, with the table of servers at the end. */
import { dnsContract } from "@debvisor/proto-events/dns";
import { reportServers } from "../dns-changes.ts";
import { durableCommand } from "../durable-command.ts";

const { service, operations } = dnsContract;
const { registerHost, deregisterHost } = operations;

export const dnsHostsRegister = durableCommand(
  { service, wire: "register-host", spec: registerHost },
  { succeeded: reportServers },
);
export const dnsHostsDeregister = durableCommand(
  { service, wire: "deregister-host", spec: deregisterHost },
  { succeeded: reportServers },
);
