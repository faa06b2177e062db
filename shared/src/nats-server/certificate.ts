// SPDX-License-Identifier: Apache-2.0
/** Which certificate a server has on disk, and which one it shows. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect } from "node:tls";
import { systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import type { NatsServerTls } from "./config.ts";

const ANSWER_LIMIT_MS = 1_000;
const TAKE_UP_LIMIT_MS = 5_000;

/** SHA-256 fingerprint of the certificate on disk. @throws DATA_FOLDER_CORRUPT when a file is missing or the key is another's */
export function certificateOnDisk(tls: NatsServerTls): string {
  let certificate: X509Certificate;
  let fits: boolean;
  try {
    certificate = new X509Certificate(readFileSync(tls.certificate));
    fits = certificate.checkPrivateKey(createPrivateKey(readFileSync(tls.key)));
  } catch (error) {
    throw new DvError("DATA_FOLDER_CORRUPT", `${tls.certificate} and ${tls.key} cannot be read.`, { cause: error });
  }
  if (!fits) throw new DvError("DATA_FOLDER_CORRUPT", `The key in ${tls.key} is not that of ${tls.certificate}.`);
  return certificate.fingerprint256;
}

/** Waits up to 5 s until clients are shown that certificate; false when they are not. */
export async function showsCertificate(
  host: string,
  port: number,
  tls: NatsServerTls,
  wanted: string,
): Promise<boolean> {
  const deadline = systemClock.monotonic() + TAKE_UP_LIMIT_MS;
  while ((await certificateShown(host, port, tls)) !== wanted) {
    if (systemClock.monotonic() > deadline) return false;
    await systemClock.sleep(50);
  }
  return true;
}

/** Fingerprint of the certificate that clients get; undefined when they get none, or one that they would not believe. */
function certificateShown(host: string, port: number, tls: NatsServerTls): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, ca: readFileSync(tls.ca), minVersion: "TLSv1.3" }, () =>
      end(socket.getPeerCertificate().fingerprint256),
    );
    const end = (fingerprint?: string) => {
      resolve(fingerprint);
      socket.destroy();
    };
    socket.setTimeout(ANSWER_LIMIT_MS, () => end());
    socket.once("error", () => end());
    socket.once("close", () => end());
  });
}
