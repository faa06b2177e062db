// SPDX-License-Identifier: Apache-2.0
/** What the bench started ends with it, also when a time limit or Ctrl-C ends the bench. */

type Stop = () => Promise<void>;

const stops = new Set<Stop>();
let listening = false;

/** Has `stop` called once by SIGTERM or SIGINT, the latest first; the function that it returns takes that back. */
export function stopOnSignal(stop: Stop): () => void {
  if (!listening) for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => void stopAll());
  listening = true;
  stops.add(stop);
  return () => void stops.delete(stop);
}

async function stopAll(): Promise<void> {
  for (const stop of [...stops].reverse()) await stop().catch(() => undefined);
  process.exit(1);
}
