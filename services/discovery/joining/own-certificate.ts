// SPDX-License-Identifier: Apache-2.0
/**
 * Renews a server's own certificate from its files alone, before it uses the bus: the certificate may have run out while the machine was
 * off, or have been dated by a wrong clock, and then neither its bus nor its services could be reached to renew it.
 */
import { X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import type { Clock } from "@debvisor/shared/clock";
import type { Logger } from "@debvisor/shared/log";
import { nodePaths, readJsonFileIfPresent, readNode, ServerSecrets } from "@debvisor/shared/node-files";
import { createRequest, signCertificate } from "@debvisor/shared/pki/authority";
import { certificateFacts } from "@debvisor/shared/pki/certificate";
import { isDue } from "../model/certificates.ts";
import { writeTls } from "./take-up.ts";

/** Does nothing on a worker, which has no authority's key, and for a certificate that is not due. @throws DATA_FOLDER_CORRUPT */
export async function renewOwnIfDue(dir: string, { now }: Pick<Clock, "now">, log: Logger): Promise<void> {
  const { secrets: file, tls } = nodePaths(dir);
  const secrets = readJsonFileIfPresent(file, ServerSecrets);
  if (!secrets || !existsSync(tls.certificate)) return;
  const old = readFileSync(tls.certificate, "utf8");
  if (!isDue(certificateFacts(old), now())) return;
  const { requestPem, keyPem } = await createRequest();
  const certificate = await signCertificate(secrets.authority, requestPem, {
    cluster: secrets.cluster,
    nodeId: readNode(dir).id,
    addresses: addressesIn(old),
    now: new Date(now()),
  });
  writeTls(dir, { authorities: readFileSync(tls.ca, "utf8"), certificate, keyPem });
  log.info({ serial: certificateFacts(certificate).serial }, "certificate renewed at the start");
}

function addressesIn(pem: string): string[] {
  const names = new X509Certificate(pem).subjectAltName ?? "";
  return [...names.matchAll(/IP Address:([0-9A-Fa-f.:]+)/g)].map(([, address = ""]) => address);
}
