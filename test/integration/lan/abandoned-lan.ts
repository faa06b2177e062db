// SPDX-License-Identifier: Apache-2.0
/** Makes a LAN with a program on its only host, prints their names, and waits to be killed. */
import { startLan } from "../../support/lan.ts";

const lan = await startLan({ hosts: 1 });
const child = lan.spawn(0, ["sleep", "600"]);
process.stdout.write(`${JSON.stringify({ pid: child.pid, namespace: lan.namespace(0) })}\n`);
setInterval(() => undefined, 60_000);
