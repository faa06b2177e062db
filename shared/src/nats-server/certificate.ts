// SPDX-License-Identifier: Apache-2.0
/** Which certificate a server has on disk, and which one it shows. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { connect } from "node:tls";
import { systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { certificateFacts } from "../pki/certificate.ts";
import type { NatsServerTls } from "./config.ts";

const ANSWER_LIMIT_MS = 1_000;
const LOOK_MS = 100;
const TAKE_UP_LIMIT_MS = 5_000;

/** Where a running server is asked; `monitorPort` on loopback. */
export interface ServerPlace {
  readonly host: string;
  readonly port: number;
  readonly monitorPort: number;
}

/**
 * Whether a running server goes by its files: it shows the certificate on disk, and has read its configuration since any of them was
 * written. False when it does not answer. @throws DATA_FOLDER_CORRUPT as `certificateOnDisk`
 */
export async function goesByFiles(tls: NatsServerTls, { host, port, monitorPort }: ServerPlace): Promise<boolean> {
  const wanted = certificateOnDisk(tls);
  const writtenAt = Math.max(...[tls.ca, tls.certificate, tls.key].map((file) => statSync(file).mtimeMs));
  if ((await certificateShown(host, port, tls)) !== wanted) return false;
  const readAt = await configRead(monitorPort);
  return readAt !== undefined && readAt >= writtenAt;
}

/** When a server read its configuration last, milliseconds since 1970: at its start, or at a reload that it did not refuse. */
async function configRead(monitorPort: number): Promise<number | undefined> {
  try {
    const url = `http://127.0.0.1:${monitorPort}/varz`;
    const response = await fetch(url, { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
    const { config_load_time: at } = (await response.json()) as { config_load_time?: string };
    return at === undefined ? undefined : Date.parse(at);
  } catch {
    return undefined;
  }
}

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

/**
 * Resolves once the certificate on disk is valid by this machine's clock, or when patience has run out. Discovery renews one that has
 * run out while the machine was off; this process cannot, because the authority's key is out of its sight.
 */
export async function untilValid(file: string, patienceMs: number, log: Logger): Promise<void> {
  const deadline = systemClock.monotonic() + patienceMs;
  let said = false;
  while (existsSync(file) && !isValid(file) && systemClock.monotonic() < deadline) {
    if (!said) log.warn("the certificate is not valid by this machine's clock; waiting for another one");
    said = true;
    await systemClock.sleep(LOOK_MS);
  }
}

function isValid(file: string): boolean {
  const { notBefore, notAfter } = certificateFacts(readFileSync(file, "utf8"));
  const now = systemClock.now();
  return notBefore.getTime() <= now && now < notAfter.getTime();
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
