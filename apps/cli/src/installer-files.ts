// SPDX-License-Identifier: Apache-2.0
/** Id and first administrator of a new cluster. The key goes into a context file; the gateway's settings hold only its hash. */
import { createHash, randomBytes } from "node:crypto";

/** A new key, and the gateway's setting that lets it in. */
export interface FirstKey {
  readonly token: string;
  readonly gateway: {
    readonly port?: number;
    readonly bootstrapTokens: readonly { id: string; name: string; role: "admin"; hash: string }[];
  };
}

const USUAL_PORT = 8420;

/** Makes the key of the first administrator. `port`: where the gateways listen. */
export function firstKey(port: number): FirstKey {
  // The id is no secret, but two clusters' keys in one list are told apart by it.
  const id = `first${randomBytes(4).toString("hex")}`;
  const secret = randomBytes(32).toString("base64url");
  const hash = createHash("sha256").update(secret).digest("hex");
  return {
    token: `dv_${id}_${secret}`,
    gateway: {
      ...(port === USUAL_PORT ? {} : { port }),
      bootstrapTokens: [{ id, name: "first administrator", role: "admin", hash }],
    },
  };
}

/** The content of a context file (DESIGN.md 8a). */
export function contextText(cluster: string, port: number, token: string): string {
  const content = { version: 1, cluster, servers: [`http://127.0.0.1:${port}`], token };
  return `${JSON.stringify(content, null, 2)}\n`;
}

/** An id for a cluster that was given none; twelve characters as in the local cluster. */
export function randomClusterId(): string {
  return randomBytes(6).toString("hex");
}
