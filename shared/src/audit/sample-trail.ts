// SPDX-License-Identifier: Apache-2.0
/**
 * Makes audit trails without a cluster, signed by a real authority: for tests, and to measure how fast verification is. The
 * records are of several emitters in turn, an intent and its outcome each, sealed and cosigned by other nodes.
 */
import { hash } from "node:crypto";
import type { Checkpoint, RecordBody, SealedCheckpoint } from "@debvisor/proto-events/audit";
import type { Signer } from "../bus/bus.ts";
import { signerOf } from "../bus/command.ts";
import { createIssuer, createTrustSeeds, verifierTrust } from "../bus/trust.ts";
import { cosignCheckpoint, signCheckpoint } from "./checkpoint.ts";
import { Frontier } from "./merkle.ts";
import { buildRecord, type ChainHead } from "./record.ts";
import { headerLine, sealLine, type TrailHeader } from "./trail-file.ts";
import { type TrustChain, trustChain } from "./trust.ts";

/** How large the trail is. */
export interface SampleOptions {
  readonly records: number;
  /** Default 8. */
  readonly emitters?: number;
  /** Records between two checkpoints; default 1,000. */
  readonly sealEvery?: number;
  /** Nodes that cosign; default 2. */
  readonly witnesses?: number;
}

/** A trail, and the keys of whoever signed it. */
export interface SampleTrail {
  readonly header: TrailHeader;
  /** The whole export, header first. */
  readonly lines: readonly string[];
  readonly seals: readonly SealedCheckpoint[];
  readonly trust: TrustChain;
  readonly emitters: readonly Signer[];
  readonly sealer: Signer;
  readonly witnesses: readonly Signer[];
  /** Signs another checkpoint of this cluster, with every witness. */
  seal(head: Pick<Checkpoint, "size" | "root">): SealedCheckpoint;
}

const CLUSTER = "sample";
const START_MS = Date.UTC(2026, 0, 1);

/** Makes a trail. The same options give the same trail, but for its keys and what follows from them. */
export async function sampleTrail(options: SampleOptions): Promise<SampleTrail> {
  const { records, emitters: count = 8, sealEvery = 1_000, witnesses: witnessCount = 2 } = options;
  const seeds = createTrustSeeds();
  const issuer = createIssuer(seeds);
  const { operator, accounts } = await verifierTrust(seeds);
  const signers = (kind: string, many: number, issue: (id: string) => ReturnType<typeof issuer.forNode>) =>
    Promise.all(Array.from({ length: many }, async (_, i) => signerOf(await issue(nodeId(`${kind}${i}`)))));
  const emitters = await signers("emitter", count, (id) => issuer.forCore("gateway", id, []));
  const witnesses = await signers("witness", witnessCount, (id) => issuer.forNode(id));
  const [sealer] = await signers("sealer", 1, (id) => issuer.forCore("audit", id, []));
  if (!sealer) throw new TypeError("there is no sealer");
  const from = { from: 1, to: records };
  const accountJwts = [accounts.core, accounts.nodes];
  const header = {
    format: "debvisor-audit-trail",
    v: 1,
    cluster: CLUSTER,
    generation: 1,
    operator,
    accounts: accountJwts,
    ...from,
  } as const;
  const seal: SampleTrail["seal"] = ({ size, root }) => {
    const time = timeOf(size);
    const checkpoint = signCheckpoint({ cluster: CLUSTER, generation: 1, size, root, time }, sealer);
    return { checkpoint, witnesses: witnesses.map((witness) => cosignCheckpoint(checkpoint, witness, time)) };
  };
  const { lines, seals } = writeTrail(records, sealEvery, emitters, seal);
  return {
    header,
    lines: [headerLine(header), ...lines],
    seals,
    trust: trustChain({ operator, accounts: accountJwts }),
    emitters,
    sealer,
    witnesses,
    seal,
  };
}

/** What a record of the sample says; `index` counts from 0. */
export function sampleBody(index: number, kind: RecordBody["kind"]): RecordBody {
  const ref = `op-${nodeId(`operation${Math.floor(index / 2)}`).slice(0, 13)}`;
  return {
    kind,
    ref,
    actor: "operator",
    user: "admin",
    source: "192.0.2.7",
    action: "node-agent.restart-unit",
    mode: "apply",
    targets: [nodeId(`target${index % 50}`)],
    args: { unit: "debvisor-gateway.service", nodes: "role=server" },
    reason: "new certificate",
    override: null,
    planDigest: hash("sha256", ref),
    operation: ref,
    requestId: `req-${index}`,
    traceId: hash("md5", ref),
    result: kind === "outcome" ? { status: "ok", code: null, exitCode: 0, message: null } : null,
  };
}

/** Each emitter begins with its credential; then they take turns, two records at a time. */
function writeTrail(records: number, sealEvery: number, emitters: readonly Signer[], seal: SampleTrail["seal"]) {
  const heads = new Map<Signer, ChainHead>();
  const frontier = new Frontier();
  const lines: string[] = [];
  const seals: SealedCheckpoint[] = [];
  for (let index = 0; index < records; index++) {
    const isStart = index < emitters.length;
    const signer = emitters[(isStart ? index : Math.floor((index - emitters.length) / 2)) % emitters.length];
    if (!signer) throw new TypeError("a trail has at least one emitter");
    const { kind, turn } = isStart ? ({ kind: "start", turn: 0 } as const) : kindOf(index - emitters.length);
    const chain = heads.get(signer) ?? { n: 0, leaf: null };
    const place = { chain, signer, id: hash("md5", `id${index}`), boot: "boot-1", mono: index, time: timeOf(index) };
    const { line, leaf } = buildRecord(sampleBody(turn, kind), place);
    heads.set(signer, { n: chain.n + 1, leaf });
    frontier.append(leaf);
    lines.push(line);
    if (frontier.size % sealEvery !== 0) continue;
    const sealed = seal({ size: frontier.size, root: frontier.root() });
    seals.push(sealed);
    lines.push(sealLine(sealed));
  }
  return { lines, seals };
}

function kindOf(turn: number) {
  return { kind: turn % 2 === 0 ? "intent" : "outcome", turn } as const;
}

function timeOf(index: number): string {
  return new Date(START_MS + index * 10).toISOString();
}

/** A node id that is always the same for a name. */
function nodeId(name: string): string {
  const letters = "abcdefghijklmnopqrstuvwxyz234567";
  const bytes = hash("sha256", name, "buffer");
  return Array.from(bytes.subarray(0, 16), (byte) => letters[byte % 32]).join("");
}
