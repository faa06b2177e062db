// SPDX-License-Identifier: Apache-2.0
/**
 * Knocks at the join ports of a LAN with wrong secrets until it is killed: `join-attacker.ts <tries a second> <own addresses> <places>`,
 * both lists with commas. The tries go to the places and come from the addresses in turn. Prints its counts ten times a second.
 */
import { randomBytes } from "node:crypto";
import { connect as connectTcp } from "node:net";
import { connect } from "node:tls";
import { FrameStream } from "@debvisor/shared/join/frames";
import { joinTls } from "@debvisor/shared/join/session";
import { createIdentity } from "@debvisor/shared/node-files";

const STEP_MS = 5;
const REPORT_MS = 100;
const PORT = 8422;
/** A try that has come to nothing by then is given up, so that open files stay within the limit. */
const PATIENCE_MS = 2_000;

const [, , perSecond = "0", sourceList = "", placeList = ""] = process.argv;
const [sources, places] = [sourceList.split(","), placeList.split(",")];
const tls = await joinTls(createIdentity().pem);
const count = { began: 0, secured: 0, refused: 0 };
const startedAt = performance.now();

setInterval(() => {
  const due = ((performance.now() - startedAt) * Number(perSecond)) / 1_000;
  for (; count.began < due; count.began++) attempt(count.began);
}, STEP_MS);
setInterval(() => process.stdout.write(`${JSON.stringify(count)}\n`), REPORT_MS);

function attempt(turn: number): void {
  const [host = "", localAddress = ""] = [places[turn % places.length], sources[turn % sources.length]];
  const raw = connectTcp({ host, port: PORT, localAddress });
  raw.setTimeout(PATIENCE_MS, () => raw.destroy());
  raw.on("error", () => undefined);
  raw.once("connect", () => {
    const socket = connect({ socket: raw, ...tls, rejectUnauthorized: false });
    socket.on("error", () => undefined);
    socket.once("secureConnect", () => {
      count.secured++;
      void lie(new FrameStream(socket))
        .catch(() => undefined)
        .finally(() => raw.destroy());
    });
  });
}

async function lie(stream: FrameStream): Promise<void> {
  const nonce = randomBytes(32).toString("base64");
  await stream.send({ type: "hello", versions: [1], modes: ["secret"], nonce, facts: {} });
  await stream.next();
  await stream.send({ type: "proof", proof: randomBytes(32).toString("base64") });
  if (await stream.next()) count.refused++;
}
