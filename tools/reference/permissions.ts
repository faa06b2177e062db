// SPDX-License-Identifier: Apache-2.0
/** The page of what each identity may say and hear on the bus, from the same function that issues credentials. */
import { CONTRACTS, contractsOf } from "@debvisor/proto-events/registry";
import {
  corePermissions,
  eventReaderPermissions,
  nodeTemplate,
  type Permissions,
  rescuePermissions,
  streamAdminPermissions,
  systemPermissions,
} from "@debvisor/shared/bus/permissions";
import { GENERATED, table } from "./markdown.ts";

/** The page as Markdown. */
export function permissionsPage(): string {
  const identities: [string, string, Permissions][] = [
    ["node", "NODES", nodeTemplate()],
    ...CONTRACTS.filter(({ uses }) => uses).map(({ service }): [string, string, Permissions] => [
      `${service} (core part)`,
      "CORE",
      corePermissions(`${service}-node`, contractsOf(service)),
    ]),
    ["event reader", "CORE", eventReaderPermissions("events-name")],
    ["stream administrator", "CORE", streamAdminPermissions("stream-admin-node")],
    ["system", "SYS", systemPermissions("system-node")],
    ["rescue", "SYS", rescuePermissions("rescue-node")],
  ];
  const sections = identities.map(([name, account, { pub, sub, resp }]) =>
    [
      `## ${name}`,
      `Account ${account}.${resp ? ` May answer each request once, within ${resp.ttl / 1e9} s.` : ""}`,
      table(["May publish", "May subscribe"], rows("allow" in pub ? pub.allow : [], sub.allow)),
    ].join("\n\n"),
  );
  return `${[GENERATED, "# Bus permissions", "Allow-lists; everything else is denied by nats-server. `{{name()}}` is the user's name, for a node its id.", ...sections].join("\n\n")}\n`;
}

function rows(left: readonly string[], right: readonly string[]): string[][] {
  const length = Math.max(left.length, right.length);
  return Array.from({ length }, (_, i) => [left[i], right[i]].map((subject) => (subject ? `\`${subject}\`` : "")));
}
