// SPDX-License-Identifier: Apache-2.0
/**
 * `dns.rotate-keys`: replaces the keys of the DNS servers that run on members (ADR-0026). New beside old, clients switched, old removed
 * after the overlap. Until the removal all of it can go back; one that broke off there is finished by the next.
 */
import { dnsContract } from "@debvisor/proto-events/dns";
import { KeyPurpose } from "@debvisor/proto-events/dns-data";
import { LONGEST_OVERLAP_S } from "@debvisor/proto-events/dns-keys";
import type { Check, PlannedEffect } from "@debvisor/proto-events/durable";
import { DvError } from "@debvisor/shared/errors";
import type { Definition, Draft, PlannedStep, Reader } from "@debvisor/shared/operation/definition";
import { parseDuration } from "@debvisor/shared/units";
import { type KeyRing, keyNameOf, purposesOf } from "../model/key-ring.ts";
import type { DnsView } from "../reconcilers/dns-store.ts";
import { hindrance, type ManagedServer, managedServers, type RotateDeps } from "./key-deploy.ts";
import { type KeyParams, keySteps } from "./key-steps.ts";

interface RotateInput {
  readonly purpose?: readonly KeyPurpose[] | undefined;
  readonly overlap: string;
}

/** Longer than the longest overlap, twice, so that what is undone late has its time. */
const DEADLINE_MS = 2 * LONGEST_OVERLAP_S * 1_000 + 600_000;
const RESOURCE = "dns/keys";

/** The definition. */
export function rotateKeysDefinition(deps: RotateDeps): Definition<RotateInput> {
  return {
    type: "dns.rotate-keys",
    spec: dnsContract.operations.rotateKeys,
    deadlineMs: DEADLINE_MS,
    mask: (input) => ({ ...input }),
    plan: (input, reader) => plan(deps, input, reader),
    steps: keySteps(deps),
    result: (answers) => answers["remove"] ?? null,
  };
}

async function plan({ store, bind }: RotateDeps, input: RotateInput, reader: Reader): Promise<Draft> {
  const overlapMs = overlapOf(input.overlap);
  const view = await store.view();
  const servers = managedServers(view);
  if (servers.length === 0)
    throw new DvError("DNS_SERVER_MISSING", `${othersIn(view)}: ${HINT}`, { details: { hint: HINT } });
  const left = leftOf(view.ring);
  const purposes = left?.purposes ?? KeyPurpose.options.filter((one) => input.purpose?.includes(one) ?? true);
  const params: KeyParams = { purposes, overlapMs, finishes: left?.operation ?? null };
  return {
    targets: [],
    steps: stepsOf(params),
    effects: effectsOf(view.ring, params, servers),
    checks: [
      ...(await Promise.all(
        servers.map(async (server) => checkOf(server, await hindrance(bind, server, view, reader))),
      )),
      ...othersOf(view),
    ],
    resources: [RESOURCE],
    touches: servers.map(({ node }) => node),
    undo: left
      ? "It finishes a removal that was begun; rotate again to replace the keys."
      : "Until the old keys are removed, dvctl operations cancel undoes all of it. Afterwards rotate again.",
    basis: { ring: view.ring, purposes, servers: servers.map(({ addedAt: _at, addedBy: _by, ...fact }) => fact) },
  };
}

const HINT = "dvctl dns servers add NAME --address IP --zone ZONE --node NODE";

function othersIn({ servers }: DnsView): string {
  const names = servers.map(({ name }) => name).join(", ");
  return names === "" ? "No DNS server is configured" : `No DNS server runs on a member (not ${names})`;
}

/** @throws INVALID_ARGUMENT */
function overlapOf(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms > LONGEST_OVERLAP_S * 1_000)
    throw new DvError("INVALID_ARGUMENT", `overlap: a time such as 60s or 10m, at most 1h; not ${text}.`);
  return ms;
}

/** A removal that broke off. One that got less far was given up, or holds the lock. */
function leftOf({
  rotation,
}: KeyRing): { readonly operation: string; readonly purposes: readonly KeyPurpose[] } | undefined {
  if (rotation?.phase !== "removing") return undefined;
  const { operation, next } = rotation;
  return { operation, purposes: KeyPurpose.options.filter((purpose) => next[purpose] !== undefined) };
}

const TITLES = {
  make: "make new keys",
  deploy: "write them beside the old ones on every server, and try both",
  switch: "sign with the new keys",
  wait: "wait while both are in force",
  remove: "remove the old keys, and see that they are refused",
} as const;

function stepsOf(params: KeyParams): PlannedStep[] {
  const kinds =
    params.finishes === null ? (["make", "deploy", "switch", "wait", "remove"] as const) : (["remove"] as const);
  return kinds.map((kind) => ({ id: kind, kind, title: TITLES[kind], target: null, params, resource: RESOURCE }));
}

function effectsOf(
  { keys }: KeyRing,
  { purposes, finishes }: KeyParams,
  servers: readonly ManagedServer[],
): PlannedEffect[] {
  return purposes.map((purpose) => {
    const own = servers.filter((server) => purposesOf(server).includes(purpose)).map(({ name }) => name);
    return {
      target: null,
      what: `key for ${purpose} on ${own.join(", ") || "no server"}`,
      before: keys[purpose] ?? null,
      after: finishes === null ? "a new key" : keyNameOf(purpose, finishes),
      diff: null,
    };
  });
}

function checkOf({ name }: ManagedServer, fault: string | undefined): Check {
  const base = { id: "dns.server-answers", target: null };
  if (fault === undefined) return { ...base, status: "passed", message: `${name} and its node answer`, hint: null };
  return {
    ...base,
    status: "failed",
    message: `${name}: ${fault}`,
    hint: `bring it up, or take it away: dvctl dns servers remove ${name}`,
  };
}

/** Servers whose keys are somebody else's. */
function othersOf({ servers }: DnsView): Check[] {
  return servers
    .filter(({ node }) => node === null)
    .map(({ name }) => ({
      ...{ id: "dns.server-managed", target: null, status: "warned" as const },
      message: `${name} runs on no member: its keys stay as they are`,
      hint: `if it does: dvctl dns servers add ${name} … --node NODE`,
    }));
}
