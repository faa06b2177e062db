// SPDX-License-Identifier: Apache-2.0
/**
 * Whether traffic passes in a LAN of namespaces: a TCP connection to a port where nobody listens is refused at once by the
 * host at the other end, which proves both directions, and both hosts' idea of each other's hardware address, without a helper.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "./lan-namespaces.ts";

/** The discard port (RFC 863); a LAN's hosts run no such service. */
const CLOSED_PORT = 9;
const PATIENCE_MS = 10_000;
const PAUSE_MS = 50;

export interface Probe {
  readonly namespace: string;
  readonly addresses: readonly string[];
}

/** Names the addresses, one a line, from which no refusal came within a second. */
const SCRIPT = `
for address in "$@"; do
  (answer=$(timeout 1 bash -c "exec 3<>/dev/tcp/$address/${CLOSED_PORT}" 2>&1) && exit 0
   case $answer in *refused*) ;; *) echo "$address" ;; esac) &
done
wait`;

/** Resolves when none of a host's addresses is tentative and every probed address answers. @throws Error naming the others */
export async function untilPassing({ namespace, addresses }: Probe): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  let silent = [...addresses];
  for (;;) {
    if (silent.length > 0) silent = await silentOf({ namespace, addresses: silent });
    const tentative = silent.length === 0 ? await tentativeOf(namespace) : "";
    if (silent.length === 0 && tentative === "") return;
    if (performance.now() > deadline) {
      throw new Error(`no traffic from ${namespace} to ${silent.join(", ") || "the LAN"}; tentative: ${tentative}`);
    }
    await sleep(PAUSE_MS);
  }
}

/** Which of the addresses do not answer a host now. */
export async function silentOf({ namespace, addresses }: Probe): Promise<string[]> {
  const { code, stdout, stderr } = await run([
    ...["ip", "netns", "exec", namespace, "bash", "--norc", "-c", SCRIPT, "probe"],
    ...addresses,
  ]);
  if (code !== 0) throw new Error(`probing from ${namespace} failed: ${stderr.trim()}`);
  return stdout.split("\n").filter(Boolean);
}

async function tentativeOf(namespace: string): Promise<string> {
  return (await run(["ip", "-n", namespace, "-6", "-o", "addr", "show", "tentative"])).stdout.trim();
}
