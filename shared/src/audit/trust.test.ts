// SPDX-License-Identifier: Apache-2.0
/** The chain of trust: who is believed to be who, and every way in which a link does not hold. */
import { beforeAll, describe, expect, it } from "vitest";
import { credentialParts } from "../bus/keys.ts";
import { createIssuer, createTrustSeeds, type VerifierTrust, verifierTrust } from "../bus/trust.ts";
import type { TrustSeeds } from "../bus/trust-seeds.ts";
import { type TrustChain, trustChain } from "./trust.ts";

const NODE = "abcdefghijklmnop";
let seeds: TrustSeeds;
let anchor: VerifierTrust;
let trust: TrustChain;

beforeAll(async () => {
  seeds = createTrustSeeds();
  anchor = await verifierTrust(seeds);
  trust = trustChain({ operator: anchor.operator, accounts: [anchor.accounts.core, anchor.accounts.nodes] });
});

async function jwtOf(from: TrustSeeds, kind: "node" | "core"): Promise<string> {
  const issuer = createIssuer(from);
  const { creds } = await (kind === "node" ? issuer.forNode(NODE) : issuer.forCore("audit", NODE, []));
  return credentialParts(creds).jwt;
}

describe("a credential", () => {
  it("of a node belongs to the account NODES, of a core part to CORE", async () => {
    expect(trust.identify(await jwtOf(seeds, "node"))).toMatchObject({ user: NODE, account: "NODES" });
    const core = trust.identify(await jwtOf(seeds, "core"));
    expect(core).toMatchObject({ user: `audit-${NODE}`, account: "CORE" });
    expect(core.publicKey).toMatch(/^U[A-Z2-7]{55}$/);
  });

  it("of another cluster is nobody's", async () => {
    const other = await jwtOf(createTrustSeeds(), "node");
    expect(() => trust.identify(other)).toThrow("signed by nobody of this cluster");
  });

  it("that the signer of nodes issued for the account of core parts is nobody's", async () => {
    const mixed = await jwtOf({ ...seeds, coreSigner: seeds.nodeSigner }, "core");
    expect(() => trust.identify(mixed)).toThrow("signed by nobody of this cluster");
  });

  it("that was changed is none", async () => {
    const [header = "", claims = "", signature = ""] = (await jwtOf(seeds, "node")).split(".");
    const changed = JSON.parse(Buffer.from(claims, "base64url").toString()) as object;
    const other = Buffer.from(JSON.stringify({ ...changed, name: "ponmlkjihgfedcba" })).toString("base64url");
    expect(() => trust.identify([header, other, signature].join("."))).toThrow("wrong signature");
    const none = Buffer.from('{"typ":"JWT","alg":"none"}').toString("base64url");
    expect(() => trust.identify([none, claims, ""].join("."))).toThrow(TypeError);
    for (const text of ["", "a.b", "a.b.c", "a.b.c.d", `${"x".repeat(100_000)}.b.c`]) {
      expect(() => trust.identify(text)).toThrow(TypeError);
    }
  });

  it("may not be an account's", () => {
    expect(() => trust.identify(anchor.accounts.core)).toThrow(TypeError);
  });
});

describe("the anchor", () => {
  it("is refused when an account was signed by somebody else, or the key is none", async () => {
    const other = await verifierTrust(createTrustSeeds());
    const accounts = [anchor.accounts.core, other.accounts.nodes];
    expect(() => trustChain({ operator: anchor.operator, accounts })).toThrow("signed by somebody else");
    expect(() => trustChain({ operator: "O", accounts: [] })).toThrow(TypeError);
    expect(() => trustChain({ operator: `O${"A".repeat(55)}`, accounts: [] })).toThrow(TypeError);
    expect(() => trustChain({ operator: anchor.accounts.core, accounts: [] })).toThrow(TypeError);
  });
});
