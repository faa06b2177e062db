// SPDX-License-Identifier: Apache-2.0
/** What the logs of streams' groups end with on the disks of a bus (nats-server 2.15.1). */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { peerIdOf } from "@debvisor/shared/nats-server/process";
import { type BusServer, filesBelow } from "./bus-server.ts";

/** Where the id of a new member is in a log that ends with one, from its end. */
const PEER_FROM = -17;
const PEER_TO = -9;

/** Streams of which a server came last and whose groups wrote nothing since, so that it does not know for sure that it is a member. */
export function streamsWithoutLastWord(server: BusServer): string[] {
  return filesBelow(server.store, ".blk").flatMap((file) => {
    const stream = streamOf(path.join(path.dirname(file), "../meta.inf"));
    const end = readFileSync(file).toString("latin1").slice(PEER_FROM, PEER_TO);
    return stream !== undefined && end === peerIdOf(server.name) ? [stream] : [];
  });
}

/** The stream whose group keeps its log there; undefined where it is no log of a stream's group. */
function streamOf(metaFile: string): string | undefined {
  if (!existsSync(metaFile)) return undefined;
  const { metadata } = JSON.parse(readFileSync(metaFile, "utf8")) as { metadata?: { type?: string; stream?: string } };
  return metadata?.type === "stream" ? metadata.stream : undefined;
}
