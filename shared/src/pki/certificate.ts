// SPDX-License-Identifier: Apache-2.0
/** Reads certificates and keys with what node has; the library that writes them (authority.ts) is not loaded for it. */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from "node:crypto";
import { DvError } from "../errors.ts";

/** What is shown of a certificate and compared. */
export interface CertificateFacts {
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Hexadecimal, upper case, as openssl prints it. */
  readonly serial: string;
  /** Common name of the issuer; empty when it has none. */
  readonly issuerCn: string;
  /** Subject alternative names that are URIs. */
  readonly uris: readonly string[];
  /** SHA-256 over the certificate (DER), 64 characters of lower-case hexadecimal. */
  readonly fingerprint: string;
}

/** Reads a certificate. Checks neither its signature nor its dates. @throws INVALID_ARGUMENT when it is none */
export function certificateFacts(pem: string): CertificateFacts {
  const certificate = parseCertificate(pem);
  return {
    notBefore: certificate.validFromDate,
    notAfter: certificate.validToDate,
    serial: certificate.serialNumber,
    issuerCn: /^CN=(.*)$/m.exec(certificate.issuer)?.[1] ?? "",
    uris: urisOf(certificate.subjectAltName ?? ""),
    fingerprint: certificate.fingerprint256.replaceAll(":", "").toLowerCase(),
  };
}

/** The certificates of a bundle (PEM), in its order. @throws INVALID_ARGUMENT when one cannot be read */
export function certificatesIn(bundle: string): { readonly pem: string; readonly fingerprint: string }[] {
  const found = bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return found.map((pem) => ({ pem: `${pem}\n`, fingerprint: certificateFacts(pem).fingerprint }));
}

/** Fingerprint of the authority of a bundle that signed a certificate (both PEM). @throws INVALID_ARGUMENT when one cannot be read */
export function issuerAmong(pem: string, bundle: string): string | undefined {
  const certificate = parseCertificate(pem);
  const signed = (authority: string) => certificate.verify(parseCertificate(authority).publicKey);
  return certificatesIn(bundle).find((authority) => signed(authority.pem))?.fingerprint;
}

/** Whether a private key (PEM) is that of a certificate (PEM). False for what is neither. */
export function isKeyOf(keyPem: string, certificatePem: string): boolean {
  try {
    return parseCertificate(certificatePem).checkPrivateKey(createPrivateKey(keyPem));
  } catch {
    return false;
  }
}

/**
 * SHA-256 over the public key (SPKI, DER) of a certificate in DER or of a private key in PEM: 64 characters of lower-case
 * hexadecimal. It is what stays the same when a certificate is renewed. @throws INVALID_ARGUMENT when it is neither
 */
export function spkiHashOf(source: Buffer | string): string {
  try {
    const key =
      typeof source === "string" ? createPublicKey(createPrivateKey(source)) : new X509Certificate(source).publicKey;
    return spkiHashOfKey(key);
  } catch (error) {
    throw new DvError("INVALID_ARGUMENT", "This is neither a certificate nor a private key.", { cause: error });
  }
}

/** The same of a public key. */
export function spkiHashOfKey(key: KeyObject): string {
  return createHash("sha256")
    .update(key.export({ type: "spki", format: "der" }))
    .digest("hex");
}

function parseCertificate(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw new DvError("INVALID_ARGUMENT", "This is no certificate in PEM.", { cause: error });
  }
}

/** Node writes a list such as `DNS:n1, URI:"a, b"`; a value that could be misread is a JSON string. */
function urisOf(names: string): string[] {
  const found = names.matchAll(/(?:^|, )URI:("(?:[^"\\]|\\.)*"|[^,]*)/g);
  return [...found].map(([, value = ""]) => (value.startsWith('"') ? String(JSON.parse(value)) : value));
}
