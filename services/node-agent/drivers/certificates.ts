// SPDX-License-Identifier: Apache-2.0
/** Reads X.509 certificates by node:crypto. In a file with several the first counts, as TLS servers read it. */
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";

/** What a certificate says, or why it cannot be read. Times in milliseconds since 1970. */
export type Certificate =
  | { readonly subject: string; readonly validFromMs: number; readonly validToMs: number }
  | { readonly reason: string };

/** Reads the certificate in a PEM or DER file. Never throws. */
export async function readCertificate(path: string): Promise<Certificate> {
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (error) {
    const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
    return { reason: code ?? String(error) };
  }
  try {
    const certificate = new X509Certificate(content);
    return {
      subject: certificate.subject.replaceAll("\n", ", "),
      validFromMs: certificate.validFromDate.getTime(),
      validToMs: certificate.validToDate.getTime(),
    };
  } catch {
    // OpenSSL's codes tell its own story (no start line, wrong tag), none of which helps more than this.
    return { reason: "it is no certificate" };
  }
}
