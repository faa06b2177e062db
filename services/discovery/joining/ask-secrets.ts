// SPDX-License-Identifier: Apache-2.0
/** On a server: asks the other servers' join ports for a key of the cluster that it lacks. Both ends show their node keys (ADR-0024). */
import { readFileSync } from "node:fs";
import { causeChain } from "@debvisor/shared/errors";
import { dialJoin } from "@debvisor/shared/join/dial";
import type { Logger } from "@debvisor/shared/log";
import { nodePaths, type ServerSecrets } from "@debvisor/shared/node-files";
import { VERSION } from "@debvisor/shared/version";
import type { ServingMember } from "../model/membership.ts";

const ANSWER_MS = 3_000;

export interface AskSecretsOptions {
  readonly dir: string;
  readonly cluster: string;
  readonly name: string;
  /** The other servers as the membership has them now. */
  readonly servers: readonly ServingMember[];
  readonly log: Logger;
}

/** Asks one server after the other until `wanted` has found what it is after; whoever does not answer is passed over. */
export async function askSecrets(
  { dir, cluster, name, servers, log }: AskSecretsOptions,
  wanted: (secrets: ServerSecrets) => boolean,
): Promise<void> {
  const identityPem = readFileSync(nodePaths(dir).identity, "utf8");
  for (const { id, key, endpoints } of servers) {
    try {
      const channel = await dialJoin({
        host: endpoints.host,
        port: endpoints.join,
        identityPem,
        cluster,
        proof: { kind: "member", spkis: [key] },
        facts: { name, role: "server", version: VERSION },
        timeoutMs: ANSWER_MS,
      });
      try {
        const answer = await channel.ask({ kind: "secrets" }, ANSWER_MS);
        if (answer.kind === "secrets" && wanted(answer.secrets)) return;
      } finally {
        channel.close();
      }
    } catch (error) {
      log.warn({ node: id, cause: causeChain(error) }, "trust: this server could not be asked for its keys");
    }
  }
}
