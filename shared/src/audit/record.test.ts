// SPDX-License-Identifier: Apache-2.0
/** Records: what is masked, what is bounded, what is signed. */
import { createHash } from "node:crypto";
import { AuditRecord, MAX_RECORD_BYTES, type RecordBody } from "@debvisor/proto-events/audit";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import type { Signer } from "../bus/bus.ts";
import { signerOf } from "../bus/command.ts";
import { publicKeyOf } from "../bus/keys.ts";
import { createIssuer, createTrustSeeds } from "../bus/trust.ts";
import { canonicalJson } from "./canonical.ts";
import { isGenuine } from "./genuine.ts";
import { maskArgs, maskText } from "./mask.ts";
import { leafHash } from "./merkle.ts";
import { buildRecord, type RecordPlace } from "./record.ts";
import { sampleBody } from "./sample-trail.ts";

const NODE = "abcdefghijklmnop";
let signer: Signer;
beforeAll(async () => {
  signer = signerOf(await createIssuer(createTrustSeeds()).forNode(NODE));
});

function place(fields: Partial<RecordPlace> = {}): RecordPlace {
  const time = "2026-01-01T00:00:00.000Z";
  return { chain: { n: 0, leaf: null }, signer, id: "0".repeat(32), boot: "boot", mono: 12.7, time, ...fields };
}

function body(fields: Partial<RecordBody> = {}): RecordBody {
  return { ...sampleBody(0, "intent"), ...fields };
}

describe("a record", () => {
  it("is one line of canonical JSON that the schema accepts, with the leaf hash of its bytes", () => {
    const { line, leaf, record } = buildRecord(body(), place());
    expect(AuditRecord.parse(JSON.parse(line))).toEqual(record);
    expect(canonicalJson(record)).toBe(line);
    expect(leaf).toBe(createHash("sha256").update(Buffer.of(0)).update(line).digest("hex"));
    expect(record).toMatchObject({ emitter: NODE, n: 1, prev: null, mono: 12, cred: null });
  });

  it("names the one before, and only a start carries the credential", () => {
    const chain = { n: 41, leaf: leafHash("before") };
    expect(buildRecord(body(), place({ chain })).record).toMatchObject({ n: 42, prev: chain.leaf });
    expect(buildRecord(body({ kind: "start" }), place()).record.cred).toBe(signer.jwt);
  });

  it("is genuine as it is, and not with another key, in another form, or with anything changed", () => {
    const { line, record } = buildRecord(body({ args: { sig: "x", nested: { sig: "y" } } }), place());
    const key = publicKeyOf(signer.publicKey);
    expect(isGenuine(line, key)).toBe(true);
    expect(isGenuine(JSON.stringify(JSON.parse(line), null, 1), key)).toBe(false);
    expect(isGenuine(canonicalJson({ ...record, n: 2 }), key)).toBe(false);
    expect(isGenuine(canonicalJson({ ...record, extra: 1 }), key)).toBe(false);
    expect(isGenuine("{}", key)).toBe(false);
    expect(isGenuine("no JSON", key)).toBe(false);
    expect(isGenuine(line, publicKeyOf(claimsOf(signer.jwt).iss))).toBe(false);
  });

  it("stays below the limit whatever it is given, and keeps the digest of what it left out", () => {
    const args = Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`field${i}`, "ä".repeat(1_500)]));
    const targets = Array.from({ length: 1_000 }, (_, i) => `${i}-${"t".repeat(300)}`);
    const message = "m".repeat(100_000);
    const result = { status: "failed", code: "STEP_FAILED", exitCode: 5, message } as const;
    const { line, record } = buildRecord(body({ kind: "start", args, targets, result, reason: message }), place());
    expect(Buffer.byteLength(line)).toBeLessThan(MAX_RECORD_BYTES);
    expect(record.args).toMatchObject({ digest: { sha256: expect.stringMatching(/^[0-9a-f]{64}$/) } });
    expect(record.targets.at(-1)).toContain("1000 in all");
    expect(AuditRecord.safeParse(record).success).toBe(true);
  });

  it("can be made of any arguments, and never grows beyond the limit", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.anything({ withBigInt: true, withDate: true })), (args) => {
        const { line } = buildRecord(body({ args }), place());
        expect(Buffer.byteLength(line)).toBeLessThan(MAX_RECORD_BYTES);
        expect(canonicalJson(JSON.parse(line))).toBe(line);
      }),
      { numRuns: 200 },
    );
  });
});

function claimsOf(jwt: string): { iss: string } {
  return JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()) as { iss: string };
}

/** Assembled here, so that no scanner takes this file for a leak. */
const SECRETS = {
  apiKey: ["dv", "admin1", "abcdefghijklmnopqrstuvwxyz"].join("_"),
  nkeySeed: `SU${"A".repeat(56)}`,
  jwt: `eyJ${"a".repeat(20)}.${"b".repeat(20)}.${"c".repeat(20)}`,
  pem: `-----BEGIN ${"PRIVATE KEY"}-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END ${"PRIVATE KEY"}-----`,
  tsig: "K2bmYg5XkPZ0mVq0bQ4t3+zP1j6w8h0nq9sV2c4d5e8=",
};

describe("secrets", () => {
  it.each(Object.entries(SECRETS))("are masked by their form: %s", (_, secret) => {
    const recorded = [
      JSON.stringify(maskArgs({ note: secret, list: [{ deep: secret }], [secret]: 1 })),
      buildRecord(body({ reason: secret, actor: secret, targets: [secret] }), place()).line,
    ];
    for (const text of recorded) {
      expect(text).not.toContain(secret);
      expect(text).toContain("[masked]");
    }
  });

  it("inside of a sentence are masked as well", () => {
    expect(maskText(`use ${SECRETS.apiKey} for it`)).toBe("use [masked] for it");
    expect(maskText(`cert:\n${SECRETS.pem}\nend`)).toBe("cert:\n[masked]\nend");
  });

  it.each([
    "password",
    "rootPassword",
    "client_secret",
    "token",
    "API-KEY",
    "private_key",
    "tsigKey",
    "seed",
    "keyMaterial",
    "passphrase",
    "sshKey",
  ])("are masked by the name %s", (name) => {
    expect(maskArgs({ [name]: "x", deep: { [name]: ["y"] } })).toEqual({
      [name]: "[masked]",
      deep: { [name]: "[masked]" },
    });
  });

  it("does not mask what names a secret and is none", () => {
    const args = {
      tokenId: "t-1",
      keyType: "ed25519",
      tokenCount: 3,
      hasPassword: true,
      unit: "ssh.service",
      password: null,
    };
    expect(maskArgs(args)).toEqual(args);
  });

  it("keeps the digest and the size of a content instead of it", () => {
    const content = "PermitRootLogin no\n";
    const sha256 = createHash("sha256").update(content).digest("hex");
    expect(maskArgs({ path: "/etc/motd", content })).toEqual({ path: "/etc/motd", content: { sha256, sizeBytes: 19 } });
  });

  it("does not follow nesting without end", () => {
    let deep: Record<string, unknown> = { leaf: 1 };
    for (let i = 0; i < 50; i++) deep = { deep };
    expect(JSON.stringify(maskArgs(deep)).length).toBeLessThan(200);
    const loop: Record<string, unknown> = {};
    loop["self"] = loop;
    expect(JSON.stringify(maskArgs(loop)).length).toBeLessThan(200);
  });
});
