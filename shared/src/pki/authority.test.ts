// SPDX-License-Identifier: Apache-2.0
/** What the authority issues: read back with node, checked by openssl's rules in a real TLS handshake. */
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import { expect, test } from "vitest";
import { createIdentity } from "../node-files.ts";
import { createAuthority, createRequest, type LeafOptions, selfSigned, signCertificate } from "./authority.ts";
import { certificateFacts, spkiHashOf } from "./certificate.ts";

const DAY_MS = 86_400_000;
const NODE = "abcdefghij234567";
const OTHER = "bbcdefghij234567";
const now = new Date();
const leaf: LeafOptions = { cluster: "lab-1", nodeId: NODE, addresses: ["127.0.0.1", "fd00::1"], now };

/** Handshake of a server and a client with these certificates, each checked against `ca` by the other. */
async function handshake(ca: string, server: Material, client: Material, serverName: string): Promise<string> {
  const listener = createServer({ ...server, ca, requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" });
  const seen = once(listener, "secureConnection").then(([socket]) => socket as TLSSocket);
  seen.catch(() => undefined);
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  const socket = connect({ ...client, ca, host: "127.0.0.1", port, ...(serverName ? { servername: serverName } : {}) });
  try {
    await once(socket, "secureConnect");
    return String((await seen).getPeerX509Certificate()?.subjectAltName);
  } finally {
    socket.destroy();
    listener.close();
  }
}

interface Material {
  readonly cert: string;
  readonly key: string;
}

async function issue(authority: Awaited<ReturnType<typeof createAuthority>>, options = leaf): Promise<Material> {
  const { requestPem, keyPem } = await createRequest();
  return { cert: await signCertificate(authority, requestPem, options), key: keyPem };
}

test("an authority is a CA of its cluster for ten years, with a serial number of its own", async () => {
  const [one, other] = [await createAuthority("lab-1"), await createAuthority("lab-1")];

  const certificate = new X509Certificate(one.certificatePem);
  expect(certificate.ca).toBe(true);
  expect(certificate.verify(certificate.publicKey)).toBe(true);
  expect(certificate.subject).toBe("CN=DebVisor lab-1");
  const facts = certificateFacts(one.certificatePem);
  expect((facts.notAfter.getTime() - now.getTime()) / DAY_MS).toBeCloseTo(3653, 0);
  expect(facts.serial).not.toBe(certificateFacts(other.certificatePem).serial);
});

test("an authority made while the clock says 1970 is valid today", async () => {
  const facts = certificateFacts((await createAuthority("lab-1", new Date(0))).certificatePem);

  expect(facts.notBefore.getTime()).toBe(0);
  expect(facts.notAfter.getTime()).toBeGreaterThan(Date.UTC(2035, 0, 1));
});

test("a leaf is valid from a day before to seven days after, for one node of one cluster", async () => {
  const authority = await createAuthority("lab-1");

  const facts = certificateFacts((await issue(authority)).cert);

  const second = Math.floor(now.getTime() / 1000) * 1000;
  expect(facts.notBefore).toEqual(new Date(second - DAY_MS));
  expect(facts.notAfter).toEqual(new Date(second + 7 * DAY_MS));
  expect(facts.uris).toEqual([`spiffe://lab-1/node/${NODE}`]);
  expect(facts.issuerCn).toBe("DebVisor lab-1");
  expect(facts.serial).toMatch(/^[4-7][0-9A-F]{31}$/);
  expect(facts.fingerprint).toMatch(/^[0-9a-f]{64}$/);
});

test("leaves serve as server and as client under their addresses and their node id", async () => {
  const authority = await createAuthority("lab-1");
  const [server, client] = [await issue(authority), await issue(authority, { ...leaf, nodeId: OTHER })];

  for (const name of ["", NODE])
    await expect(handshake(authority.certificatePem, server, client, name)).resolves.toContain(
      `URI:spiffe://lab-1/node/${OTHER}`,
    );
});

test.each<[string, Partial<LeafOptions>]>([
  ["another address", { addresses: ["127.0.0.9"] }],
  ["a time that is over", { now: new Date(now.getTime() - 8 * DAY_MS) }],
])("a leaf for %s is refused in the handshake", async (_, change) => {
  const authority = await createAuthority("lab-1");
  const [server, client] = [await issue(authority, { ...leaf, ...change }), await issue(authority)];

  await expect(handshake(authority.certificatePem, server, client, "")).rejects.toThrow();
});

test("a leaf of another authority of the same name is refused in the handshake", async () => {
  const [authority, stranger] = [await createAuthority("lab-1"), await createAuthority("lab-1")];
  const [server, client] = [await issue(stranger), await issue(authority)];

  await expect(handshake(authority.certificatePem, server, client, "")).rejects.toThrow();
});

test("a leaf cannot issue", async () => {
  const authority = await createAuthority("lab-1");
  const { cert, key } = await issue(authority);
  const forged = await issue({ certificatePem: cert, keyPem: key });

  const chained = { ...forged, cert: `${forged.cert}${cert}` };
  await expect(handshake(authority.certificatePem, chained, await issue(authority), "")).rejects.toThrow();
});

test.each<[string, Partial<LeafOptions>]>([
  ["the wildcard as node", { nodeId: "*" }],
  ["a node id with a slash", { nodeId: "abcdefghij23456/" }],
  ["a cluster that is no name", { cluster: "a/../b" }],
  ["an empty cluster", { cluster: "" }],
  ["a host name as address", { addresses: ["evil.example"] }],
  ["an address with a zone", { addresses: ["fe80::1%eth0"] }],
  ["an end before the beginning", { lifetimeMs: -1 }],
  ["no time", { now: new Date(Number.NaN) }],
])("%s is not signed", async (_, change) => {
  const authority = await createAuthority("lab-1");
  const { requestPem } = await createRequest();

  await expect(signCertificate(authority, requestPem, { ...leaf, ...change })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
  });
});

test("a request that is damaged, for another kind of key or not signed by its own key is refused", async () => {
  const authority = await createAuthority("lab-1");
  const { requestPem } = await createRequest();
  const der = Buffer.from(requestPem.replaceAll(/-----[^-]+-----|\s/g, ""), "base64");
  const asPem = (bytes: Buffer) =>
    `-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;
  // The signed part and the signature; the library is lenient about the frame around them, which says nothing of its own.
  const meant = [...der.keys()].filter((at) => (at >= 2 && at < 55) || at >= der.length - 64);
  const damaged = meant.map((at) => {
    const copy = Buffer.from(der);
    copy[at] = (copy[at] ?? 0) ^ 0x01;
    return asPem(copy);
  });

  for (const odd of ["", "nonsense", authority.certificatePem, asPem(der.subarray(0, 40)), ...damaged])
    await expect(signCertificate(authority, odd, leaf)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});

test("the certificate of the join port is for the node's own key and has no end", async () => {
  const { pem } = createIdentity();

  const { certificatePem, keyPem } = await selfSigned(pem);

  const facts = certificateFacts(certificatePem);
  expect(keyPem).toBe(pem);
  expect(facts.notBefore.getTime()).toBe(0);
  expect(facts.notAfter.getUTCFullYear()).toBe(9999);
  const certificate = new X509Certificate(certificatePem);
  expect(certificate.verify(certificate.publicKey)).toBe(true);
  expect(spkiHashOf(certificate.raw)).toBe(spkiHashOf(pem));
});

test("what is no Ed25519 identity gets no certificate, and what is neither key nor certificate no hash", async () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const odd = String(privateKey.export({ type: "pkcs8", format: "pem" }));

  for (const pem of [odd, "", "nonsense"])
    await expect(selfSigned(pem)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(() => spkiHashOf("nonsense")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  expect(() => spkiHashOf(Buffer.from("nonsense"))).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  expect(() => certificateFacts("nonsense")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
});
