// SPDX-License-Identifier: Apache-2.0
/** Waits for a condition with a deadline, instead of sleeping for a guess. */

/** Resolves when the condition holds. Throws with `explain()` when it does not within the time. */
export async function waitFor(
  condition: () => boolean | Promise<boolean>,
  patienceMs: number,
  explain: () => string,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${patienceMs} ms: ${explain()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
