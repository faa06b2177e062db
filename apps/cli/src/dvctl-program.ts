// SPDX-License-Identifier: Apache-2.0
/** The commands of `dvctl`: those of the contracts, and those written by hand. */
import { type Program, wordsOf } from "./command.ts";
import { derivedCommands } from "./derive.ts";
import { advertise } from "./dvctl/advertise.ts";
import { auditExport } from "./dvctl/audit-export.ts";
import { auditFollow } from "./dvctl/audit-follow.ts";
import { auditProve } from "./dvctl/audit-prove.ts";
import { auditStatus } from "./dvctl/audit-status.ts";
import { auditVerify } from "./dvctl/audit-verify.ts";
import { clusterInit } from "./dvctl/cluster-init.ts";
import { clusterPrepare } from "./dvctl/cluster-prepare.ts";
import { clusterRescue } from "./dvctl/cluster-rescue.ts";
import { completion } from "./dvctl/completion.ts";
import { configShow } from "./dvctl/config-show.ts";
import { contextShow } from "./dvctl/context-show.ts";
import { credentialsCreate } from "./dvctl/credentials-create.ts";
import { discover } from "./dvctl/discover.ts";
import { dnsHostsDeregister, dnsHostsRegister } from "./dvctl/dns-hosts.ts";
import { dnsKeysCheck } from "./dvctl/dns-keys-check.ts";
import { dnsKeysCreate } from "./dvctl/dns-keys-create.ts";
import { dnsKeysImport } from "./dvctl/dns-keys-import.ts";
import { dnsRecordsChange, dnsRecordsDelete, dnsRecordsSet } from "./dvctl/dns-records-set.ts";
import { dnsServersAdd } from "./dvctl/dns-servers-add.ts";
import { dnsDnssecCheck, dnsPropagation, dnsServersCheck } from "./dvctl/dns-servers-check.ts";
import { errors } from "./dvctl/errors.ts";
import { eventsFollow } from "./dvctl/events-follow.ts";
import { help } from "./dvctl/help.ts";
import { labKill } from "./dvctl/lab-kill.ts";
import { labStart } from "./dvctl/lab-start.ts";
import { labStatus } from "./dvctl/lab-status.ts";
import { labStop } from "./dvctl/lab-stop.ts";
import { man } from "./dvctl/man.ts";
import { nodesAccept } from "./dvctl/nodes-accept.ts";
import { nodesFilePut } from "./dvctl/nodes-file-put.ts";
import { nodesRebind } from "./dvctl/nodes-rebind.ts";
import { nodesReset } from "./dvctl/nodes-reset.ts";
import { operationsShow } from "./dvctl/operations-show.ts";
import { operationsWait } from "./dvctl/operations-wait.ts";
import { ping } from "./dvctl/ping.ts";
import { status } from "./dvctl/status.ts";
import { tokensCreate } from "./dvctl/tokens-create.ts";
import { tokensShow } from "./dvctl/tokens-show.ts";
import { versionCommand } from "./dvctl/version.ts";
import { operationControls } from "./operation-control.ts";

/** Commands of contracts that do more than the contract says; they stand in the place of the derived ones. */
const REFINED = [
  status,
  auditStatus,
  auditProve,
  tokensCreate,
  nodesAccept,
  nodesFilePut,
  operationsShow,
  dnsServersAdd,
  dnsServersCheck,
  dnsPropagation,
  dnsDnssecCheck,
  dnsRecordsChange,
  dnsHostsRegister,
  dnsHostsDeregister,
  ...operationControls,
];

const HANDWRITTEN = [
  clusterInit,
  clusterPrepare,
  nodesRebind,
  clusterRescue,
  nodesReset,
  credentialsCreate,
  eventsFollow,
  auditFollow,
  auditExport,
  auditVerify,
  operationsWait,
  dnsKeysCreate,
  dnsKeysCheck,
  dnsKeysImport,
  dnsRecordsSet,
  dnsRecordsDelete,
  discover,
  advertise,
  errors,
  ping,
  tokensShow,
  contextShow,
  configShow,
  labStatus,
  labStart,
  labStop,
  labKill,
  completion,
  man,
  help,
  versionCommand,
];

/** The program `dvctl`. Commands of one noun stand together. */
export function dvctlProgram(): Program {
  const refined = new Map(REFINED.map((command) => [wordsOf(command).join(" "), command]));
  const derived = derivedCommands().map((command) => refined.get(wordsOf(command).join(" ")) ?? command);
  const commands = [...derived, ...HANDWRITTEN];
  const nouns = [...new Set(commands.map(({ noun }) => noun))];
  const sorted = nouns.flatMap((noun) => commands.filter((command) => command.noun === noun));
  const titles = sorted.map((command) => wordsOf(command).join(" "));
  const twice = titles.find((title, i) => titles.indexOf(title) !== i);
  if (twice !== undefined) throw new TypeError(`two commands are called ${twice}`);
  return { name: "dvctl", summary: "looks at and changes a DebVisor cluster.", commands: sorted };
}
