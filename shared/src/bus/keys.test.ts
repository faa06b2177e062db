// SPDX-License-Identifier: Apache-2.0
/** Our nkeys are the library's, only faster: both must say the same of every seed. */
import { createAccount, createOperator, createUser, fromPublic } from "@nats-io/nkeys";
import { describe, expect, it } from "vitest";
import { credentialAuthenticator, credentialParts, isSigned, keyPairOf, publicKeyOf } from "./keys.ts";
import { createIssuer, createTrustSeeds } from "./trust.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const message = new TextEncoder().encode("aNonce_-01");

describe("keyPairOf", () => {
  it.each([
    ["operator", createOperator],
    ["account", createAccount],
    ["user", createUser],
  ])("agrees with the library on %s keys", (_role, create) => {
    const theirs = create();

    const ours = keyPairOf(text(theirs.getSeed()));

    expect(ours.getPublicKey()).toBe(theirs.getPublicKey());
    expect(text(ours.getPrivateKey())).toBe(text(theirs.getPrivateKey()));
    expect(ours.sign(message)).toEqual(Buffer.from(theirs.sign(message)));
    expect(ours.verify(message, theirs.sign(message))).toBe(true);
    expect(ours.verify(new Uint8Array(3), theirs.sign(message))).toBe(false);
  });

  it("refuses a seed with a wrong checksum", () => {
    const seed = text(createUser().getSeed());
    const broken = `${seed.slice(0, 20)}${seed[20] === "A" ? "B" : "A"}${seed.slice(21)}`;

    expect(() => keyPairOf(broken)).toThrow();
  });
});

describe("publicKeyOf", () => {
  it.each([
    ["operator", createOperator],
    ["account", createAccount],
    ["user", createUser],
  ])("checks what an %s's key has signed, and nothing else", (_role, create) => {
    const [pair, stranger] = [create(), create()];
    const key = publicKeyOf(pair.getPublicKey());

    expect(isSigned(key, message, pair.sign(message))).toBe(true);
    expect(isSigned(key, new TextEncoder().encode("another"), pair.sign(message))).toBe(false);
    expect(isSigned(key, message, stranger.sign(message))).toBe(false);
    expect(isSigned(key, message, pair.sign(message).subarray(0, 63))).toBe(false);
    expect(isSigned(key, message, new Uint8Array(64))).toBe(false);
  });

  it.each([
    ["a damaged key", (key: string) => `${key.slice(0, 20)}${key[20] === "A" ? "B" : "A"}${key.slice(21)}`],
    ["a key that is too short", (key: string) => key.slice(1)],
    ["a seed", () => text(createUser().getSeed())],
    ["nothing", () => ""],
  ])("refuses %s", (_what, change) => {
    expect(() => publicKeyOf(change(createUser().getPublicKey()))).toThrow(TypeError);
  });

  it("is the key that a credential signs with", async () => {
    const { creds } = await createIssuer(createTrustSeeds()).forNode("abcdefghijklmnop");
    const { pair } = credentialParts(creds);

    expect(isSigned(publicKeyOf(pair.getPublicKey()), message, pair.sign(message))).toBe(true);
  });
});

describe("credentialAuthenticator", () => {
  it("answers the server's nonce with a signature of the user in the JWT", async () => {
    const { creds } = await createIssuer(createTrustSeeds()).forNode("abcdefghijklmnop");

    const answer = await credentialAuthenticator(creds)("aNonce_-01");

    const { jwt, nkey, sig } = answer as { jwt: string; nkey: string; sig: string };
    const claims = JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()) as {
      sub: string;
      name: string;
    };
    expect(claims).toMatchObject({ sub: nkey, name: "abcdefghijklmnop" });
    expect(fromPublic(nkey).verify(message, Buffer.from(sig, "base64"))).toBe(true);
  });

  it("refuses a text that is no credential", () => {
    expect(() => credentialAuthenticator("nothing")).toThrow(TypeError);
  });

  it("signs nothing that could be an order or a record", async () => {
    const { creds } = await createIssuer(createTrustSeeds()).forNode("abcdefghijklmnop");

    expect(() => credentialAuthenticator(creds)('{"v":1}')).toThrow(TypeError);
  });
});
