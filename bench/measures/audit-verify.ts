// SPDX-License-Identifier: Apache-2.0
/**
 * How fast an exported audit trail is verified offline: chains, tree and checkpoints, against hashing the same lines and nothing
 * else; then with every record's signature, against the same number of bare Ed25519 verifications on one core.
 */
import { generateKeyPairSync, hash, sign, verify } from "node:crypto";
import { availableParallelism } from "node:os";
import { type SampleTrail, sampleTrail } from "@debvisor/shared/audit/sample-trail";
import { verifyTrail } from "@debvisor/shared/audit/verify";
import { alternate, type Measure, median, round } from "../measure.ts";

const GOAL_PER_SECOND = 50_000;

export const auditVerify: Measure = {
  name: "audit-verify",
  summary: "an exported audit trail of 100,000 records, verified offline",
  async run({ quick, say, report }) {
    const records = quick ? 5_000 : 100_000;
    say(`signing ${records} records`);
    const trail = await sampleTrail({ records });
    const rounds = quick ? 2 : 5;
    const rate = (ms: number, count = records) => Math.round(count / (ms / 1_000));
    await verified(trail, false);
    const chains = await alternate(
      rounds,
      () => Promise.resolve(timed(() => void trail.lines.map((line) => hash("sha256", line)))),
      () => verified(trail, false),
    );
    const [hashed, ours] = [rate(median(chains.bare)), rate(median(chains.ours))];
    const bytesPerRecord = Math.round(trail.lines.reduce((sum, line) => sum + line.length, 0) / records);
    report({
      measure: "audit-verify/chains-and-tree",
      bare: hashed,
      ours,
      ratio: round(ours / hashed),
      goal: `>= ${GOAL_PER_SECOND}/s`,
      met: ours >= GOAL_PER_SECOND,
      unit: "records/s",
      n: rounds,
      records,
      bytesPerRecord,
    });
    const few = Math.min(records, 5_000);
    const bare = rate(bareSignatures(few), few);
    const all = rate(await verified(trail, true));
    report({
      measure: "audit-verify/signatures",
      bare,
      ours: all,
      ratio: round(all / bare),
      goal: "told only: a core's limit is bare Ed25519",
      met: true,
      unit: "records/s",
      n: 1,
      records,
      cores: availableParallelism(),
    });
  },
};

async function verified(trail: SampleTrail, signatures: boolean): Promise<number> {
  const from = performance.now();
  const { ok } = await verifyTrail(trail.lines, { signatures });
  const ms = performance.now() - from;
  if (!ok) throw new Error("a genuine trail was refused");
  return ms;
}

/** Milliseconds that one core needs for so many verifications. */
function bareSignatures(count: number): number {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const message = Buffer.alloc(800, 1);
  const signature = sign(null, message, privateKey);
  return timed(() => {
    for (let i = 0; i < count; i++) verify(null, message, publicKey, signature);
  });
}

function timed(action: () => void): number {
  const from = performance.now();
  action();
  return performance.now() - from;
}
