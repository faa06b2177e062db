// SPDX-License-Identifier: Apache-2.0
/**
 * Whether a server that is left may go on alone, pure: everybody else has to be declared off, and nobody may answer. One server only
 * goes on: of two survivors of five neither need hold every stream.
 */
import type { ErrorCode } from "@debvisor/proto-events/errors";
import type { ClusterEntry, Member } from "@debvisor/proto-events/membership";

/** Another server, as the machine that asks sees it. */
export interface OtherServer {
  readonly id: string;
  readonly name: string;
  /** What answered there, such as `10.77.0.2:6222`; null when nothing did. */
  readonly answers: string | null;
}

/** Why a rescue is refused. */
export interface RescueFault {
  readonly code: ErrorCode;
  readonly why: string;
}

/**
 * Why a rescue is refused; undefined when nothing stands against it. `off`: ids or names of the servers that were declared off.
 */
export function rescueFault(
  own: Pick<Member, "id" | "name">,
  others: readonly OtherServer[],
  off: readonly string[],
): RescueFault | undefined {
  const isNamed = ({ id, name }: Pick<Member, "id" | "name">) => off.includes(id) || off.includes(name);
  const refused = (why: string): RescueFault => ({ code: "RESCUE_REFUSED", why });
  if (others.length === 0) return refused("it is the only server: nothing is to be rescued, start it");
  if (isNamed(own)) return { code: "INVALID_ARGUMENT", why: `--off names this machine, ${own.name}` };
  const unknown = off.find((ref) => !others.some(({ id, name }) => ref === id || ref === name));
  if (unknown !== undefined)
    return {
      code: "NODE_NOT_FOUND",
      why: `--off names ${unknown}, which is no server of this cluster; the others are ${listOf(others)}`,
    };
  const answering = others.filter(({ answers }) => answers !== null);
  const needed = Math.floor((others.length + 1) / 2) + 1;
  const alive = answering.map(({ name, answers }) => `${name} (${answers})`).join(", ");
  if (answering.length + 1 >= needed)
    return refused(`of ${others.length + 1} servers ${needed} are a majority, and ${alive} can be reached: start them`);
  if (answering.length > 0)
    return refused(
      `only one server can go on, and ${alive} can be reached: power it off for ever and name it, or rescue there`,
    );
  const unnamed = others.filter((server) => !isNamed(server));
  if (unnamed.length > 0)
    return refused(`not declared off with --off, and not to be reached either: ${listOf(unnamed)}`);
  return undefined;
}

function listOf(servers: readonly OtherServer[]): string {
  return servers.map(({ name, id }) => `${name} (${id})`).join(", ");
}

/** What a rescue is, as far as the membership is concerned. */
export interface RescueFacts {
  readonly actor: string;
  readonly reason: string;
  /** RFC 3339. */
  readonly at: string;
  /** Id of the formation from now on. */
  readonly formation: string;
}

/** A server that was declared off, removed; undefined when it is already, or no server. */
export function declaredOff(member: Member | undefined, { at, actor, reason }: RescueFacts): Member | undefined {
  if (member?.role !== "server" || member.state === "removed") return undefined;
  return { ...member, state: "removed", generation: member.generation + 1, removed: { at, actor, reason } };
}

/**
 * The cluster of the survivor: one declared server, joining by the secret alone closed. Another formation, because the others, should
 * they ever come back, are a majority of the one that they know: both sides can see that they are two.
 */
export function rescued(entry: ClusterEntry, { at, formation }: RescueFacts): ClusterEntry | undefined {
  if (entry.formation === formation) return undefined;
  return { ...entry, formation, servers: 1, rescuedAt: at, unattendedUntil: null, joining: null };
}
