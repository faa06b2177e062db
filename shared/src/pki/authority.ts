// SPDX-License-Identifier: Apache-2.0
/**
 * The cluster's certificate authority (X.509, Ed25519): one authority per cluster, leaf certificates of seven days for the nodes
 * (RULES.md 8), and the self-signed certificate of the join port. Written with @peculiar/x509, because node only reads
 * certificates. It takes 8 MB of memory and is loaded at the first call, so a service that needs no certificate never has it.
 */
import { createPrivateKey, createPublicKey, randomBytes } from "node:crypto";
import { isIP } from "node:net";
import { NodeId } from "@debvisor/proto-events/primitives";
import { DvError } from "../errors.ts";

const ED25519 = { name: "Ed25519" } as const;
const DAY_MS = 86_400_000;
const LEAF_LIFE_MS = 7 * DAY_MS;
const AUTHORITY_LIFE_MS = 3653 * DAY_MS;
/** Clocks of nodes may lag by so much and still take a new certificate (RULES.md part 5). */
const BACKDATED_MS = DAY_MS;
/** An authority that is made while the clock still says 1970 must not have ended once it is set. */
const EARLIEST_NOW_MS = Date.UTC(2026, 0, 1);
const EPOCH = new Date(0);
/** RFC 5280 4.1.2.5: a certificate without a well-defined end. */
const NO_END = new Date("9999-12-31T23:59:59Z");
/** Ids of clusters are names (RULES.md 7): one that could be read as something else never gets into a certificate. */
const CLUSTER = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Certificate and private key of an authority, PEM. The key admits machines: servers only, mode 0600. */
export interface Authority {
  readonly certificatePem: string;
  readonly keyPem: string;
}

/** What a leaf certificate says. */
export interface LeafOptions {
  readonly cluster: string;
  readonly nodeId: string;
  /** IP addresses at which the node is reached. */
  readonly addresses: readonly string[];
  /** Time of the issuer. */
  readonly now: Date;
  /** Milliseconds from `now`; default seven days. */
  readonly lifetimeMs?: number;
}

/** Makes the authority of a cluster; valid for ten years from `now`. @throws INVALID_ARGUMENT for a cluster id that is no name */
export async function createAuthority(cluster: string, now = new Date()): Promise<Authority> {
  checkCluster(cluster);
  const { x509, provider } = await library();
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serialNumber(),
      name: [{ CN: [`DebVisor ${cluster}`] }],
      notBefore: EPOCH,
      notAfter: new Date(Math.max(now.getTime(), EARLIEST_NOW_MS) + AUTHORITY_LIFE_MS),
      keys,
      signingAlgorithm: ED25519,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, provider),
      ],
    },
    provider,
  );
  return { certificatePem: pem(certificate), keyPem: await privatePem(keys.privateKey) };
}

/** Makes a new Ed25519 key for TLS and a PKCS#10 request for it. The request names nobody: the issuer knows who asks. */
export async function createRequest(): Promise<{ requestPem: string; keyPem: string }> {
  const { x509, provider } = await library();
  const keys = await newKeys();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: ED25519 }, provider);
  return { requestPem: pem(request), keyPem: await privatePem(keys.privateKey) };
}

/**
 * Issues a leaf certificate (PEM) for the key of a request: for servers and clients, with the node's addresses, its id and
 * `spiffe://<cluster>/node/<nodeId>` as names. Whatever else the request asks for is left out. Valid from a day before `now`.
 * @throws INVALID_ARGUMENT for a request that is none, not for Ed25519 or not signed by its own key, and for names out of range
 */
export async function signCertificate(authority: Authority, requestPem: string, options: LeafOptions): Promise<string> {
  const { cluster, nodeId, addresses, now, lifetimeMs = LEAF_LIFE_MS } = options;
  checkLeaf(options);
  const { x509, provider } = await library();
  const publicKey = await requestedKey(requestPem);
  const issuer = new x509.X509Certificate(authority.certificatePem);
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serialNumber(),
      subject: [{ CN: [nodeId] }],
      issuer: issuer.subjectName.toJSON(),
      notBefore: new Date(now.getTime() - BACKDATED_MS),
      notAfter: new Date(now.getTime() + lifetimeMs),
      publicKey,
      signingKey: await importPrivate(authority.keyPem),
      signingAlgorithm: ED25519,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
        new x509.SubjectAlternativeNameExtension([
          ...addresses.map((value) => ({ type: "ip" as const, value })),
          { type: "dns", value: nodeId },
          { type: "url", value: `spiffe://${cluster}/node/${nodeId}` },
        ]),
        await x509.AuthorityKeyIdentifierExtension.create(issuer, false, provider),
      ],
    },
    provider,
  );
  return pem(certificate);
}

/**
 * The certificate of the join port for a node's identity (PKCS#8, PEM). Valid always: peers compare its key and never its dates,
 * because a machine at its first boot may think it is 1970 (RULES.md 6). @throws INVALID_ARGUMENT when it is no Ed25519 key
 */
export async function selfSigned(
  identityPem: string,
  notBefore = EPOCH,
): Promise<{ certificatePem: string; keyPem: string }> {
  const { x509, provider } = await library();
  const keys = { privateKey: await importPrivate(identityPem), publicKey: await importPublic(identityPem) };
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serialNumber(),
      name: [{ CN: ["DebVisor join"] }],
      notBefore,
      notAfter: NO_END,
      keys,
      signingAlgorithm: ED25519,
    },
    provider,
  );
  return { certificatePem: pem(certificate), keyPem: identityPem };
}

/** The library and its source of cryptography. */
async function library() {
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const provider = globalThis.crypto;
  x509.cryptoProvider.set(provider);
  return { x509, provider };
}

async function requestedKey(requestPem: string): Promise<CryptoKey> {
  const { x509, provider } = await library();
  try {
    const request = new x509.Pkcs10CertificateRequest(requestPem);
    const key = await request.publicKey.export(ED25519, ["verify"], provider);
    if (await request.verify(provider)) return key;
  } catch (error) {
    throw new DvError("INVALID_ARGUMENT", "This is no certificate request for an Ed25519 key.", { cause: error });
  }
  throw new DvError("INVALID_ARGUMENT", "The certificate request is not signed by the key that it is for.");
}

function checkLeaf({ cluster, nodeId, addresses, now, lifetimeMs = LEAF_LIFE_MS }: LeafOptions): void {
  checkCluster(cluster);
  if (!NodeId.safeParse(nodeId).success) throw new DvError("INVALID_ARGUMENT", "A certificate is for a node id.");
  const odd = addresses.find((address) => isIP(address) === 0 || address.includes("%"));
  if (odd !== undefined) throw new DvError("INVALID_ARGUMENT", `${JSON.stringify(odd)} is no IP address.`);
  if (!(lifetimeMs > 0) || !Number.isFinite(now.getTime() + lifetimeMs))
    throw new DvError("INVALID_ARGUMENT", "A certificate ends after it begins.");
}

function checkCluster(cluster: string): void {
  if (!CLUSTER.test(cluster)) throw new DvError("INVALID_ARGUMENT", `${JSON.stringify(cluster)} is no cluster id.`);
}

/** 127 random bits: positive and within the 20 bytes of RFC 5280 4.1.2.2. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  // The first byte is neither zero nor negative, so that the number has one encoding.
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}

async function newKeys(): Promise<CryptoKeyPair> {
  return (await crypto.subtle.generateKey(ED25519, true, ["sign", "verify"])) as CryptoKeyPair;
}

async function importPrivate(privatePemText: string): Promise<CryptoKey> {
  const der = ed25519(privatePemText).export({ type: "pkcs8", format: "der" });
  return await crypto.subtle.importKey("pkcs8", der, ED25519, false, ["sign"]);
}

async function importPublic(privatePemText: string): Promise<CryptoKey> {
  const der = createPublicKey(ed25519(privatePemText)).export({ type: "spki", format: "der" });
  return await crypto.subtle.importKey("spki", der, ED25519, true, ["verify"]);
}

function ed25519(privatePemText: string) {
  try {
    const key = createPrivateKey(privatePemText);
    if (key.asymmetricKeyType === "ed25519") return key;
  } catch (error) {
    throw new DvError("INVALID_ARGUMENT", "This is no private key in PEM.", { cause: error });
  }
  throw new DvError("INVALID_ARGUMENT", "This is no Ed25519 key.");
}

async function privatePem(key: CryptoKey): Promise<string> {
  const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", key));
  return String(createPrivateKey({ key: der, format: "der", type: "pkcs8" }).export({ type: "pkcs8", format: "pem" }));
}

function pem(data: { toString(format: "pem"): string }): string {
  return `${data.toString("pem").trim()}\n`;
}
