// SPDX-License-Identifier: Apache-2.0
/** Entry of `npm start`. Says its first line at once and loads the rest afterwards, so that a user sees that it lives. */
import { dirname, relative } from "node:path";
import { fileURLToPath } from "node:url";

const startedAt = performance.now() - process.uptime() * 1_000;
process.stdout.write("DebVisor: preparing the local cluster (Ctrl-C stops it)\n");

const { parseLabOptions, USAGE } = await import("./options.ts");
const { DvError, toDvError, causeChain } = await import("@debvisor/shared/errors");

const projectDir = dirname(fileURLToPath(new URL("../../../package.json", import.meta.url)));
try {
  const options = parseLabOptions(process.argv.slice(2), projectDir);
  if (options.help) process.stdout.write(USAGE);
  else {
    const { Lab } = await import("./launcher.ts");
    const lab = new Lab(options, {
      startedAt,
      write: (line) => process.stdout.write(`${line}\n`),
      shown: (path) => relative(process.cwd(), path) || ".",
    });
    process.exitCode = await lab.run();
  }
} catch (error) {
  const failure = toDvError(error);
  process.stderr.write(`[ERROR] ${failure.message} (${failure.code})\n`);
  if (!(error instanceof DvError)) process.stderr.write(`${causeChain(failure)}\n`);
  process.exitCode = failure.exitCode;
}
