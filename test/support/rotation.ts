// SPDX-License-Identifier: Apache-2.0
/** A local cluster whose authority is rotated: asks for it through a gateway, and looks at what the nodes' files really say. */
import { randomUUID, X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type ConnectedBus, connectBus } from "@debvisor/shared/bus/connect";
import { createLogger } from "@debvisor/shared/log";
import {
  busTls,
  nodePaths,
  readCredential,
  readMembership,
  readNode,
  ServerSecrets,
} from "@debvisor/shared/node-files";
import { certificatesIn } from "@debvisor/shared/pki/certificate";
import { VERSION } from "@debvisor/shared/version";
import { type LocalCluster, startLocalCluster } from "./local-cluster.ts";
import { waitFor } from "./wait-for.ts";

/** What matters of `trust show`. */
export interface Trust {
  readonly generation: number;
  readonly authorities: readonly { readonly fingerprint: string; readonly issues: boolean }[];
  readonly members: readonly { readonly name: string; readonly current: boolean }[];
}

/** Longest wait for one gateway; another one is asked then. */
const ASK_MS = 1_000;
const MOST_TRIES = 4;

type Body = Readonly<Record<string, unknown>>;

/** See above. */
export class Rotation {
  readonly lab: LocalCluster;
  /** Folders of the nodes, by number. */
  readonly dirs: readonly string[];

  private constructor(lab: LocalCluster, dirs: readonly string[]) {
    this.lab = lab;
    this.dirs = dirs;
  }

  /** Starts a cluster of three servers and a worker, each service a process, and waits until it is whole. */
  static async start(): Promise<Rotation> {
    const lab = await startLocalCluster({ flags: ["--nodes", "4", "--processes"] });
    try {
      await lab.untilReplicated();
      await lab.untilState({ "node-4": "alive" }, 30_000);
      return await Rotation.of(lab);
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  static async of(lab: LocalCluster): Promise<Rotation> {
    const nodes = [...(await lab.nodes())].sort((a, b) => (a.name < b.name ? -1 : 1));
    return new Rotation(
      lab,
      nodes.map(({ id }) => path.join(lab.dataDir, "nodes", id)),
    );
  }

  /** Folder of node `node-<n>`. */
  dir(n: number): string {
    return this.dirs[n - 1] ?? "";
  }

  /** Undefined when the gateway of that node does not answer. */
  async show(node = 1): Promise<Trust | undefined> {
    const reply = await this.lab.fetch("/v1/trust", {}, node).catch(() => undefined);
    return reply?.ok ? ((await reply.json()) as Trust) : undefined;
  }

  /** Asks for a rotation through a gateway. */
  submit(more: Record<string, unknown> = {}, node = 1): Promise<{ readonly status: number; readonly body: Body }> {
    return this.#post("/v1/trust/rotation", { reason: "test", ...more }, node);
  }

  cancel(id: unknown): Promise<unknown> {
    return this.control("cancel", id);
  }

  /** Asks something of an operation. */
  control(
    verb: "cancel" | "continue" | "pause",
    id: unknown,
  ): Promise<{ readonly status: number; readonly body: Body }> {
    return this.#post(`/v1/operations/${String(id)}/${verb}`, { reason: "test" }, 1);
  }

  /** Waits until an operation is in one of these states. */
  async untilState(id: unknown, states: readonly string[], patienceMs: number): Promise<Body> {
    let seen: Body | undefined;
    await waitFor(
      async () => {
        seen = (await this.operation(id)) ?? seen;
        return states.includes(String(seen?.["state"]));
      },
      patienceMs,
      () => `${String(id)}: ${JSON.stringify(seen)}`,
    );
    return seen ?? {};
  }

  /** The node that runs an operation, by number. */
  async ownerOf(id: unknown): Promise<number> {
    let owner = -1;
    await waitFor(
      async () => {
        const { instance = "" } = ((await this.operation(id))?.["owner"] ?? {}) as { instance?: string };
        owner = this.dirs.findIndex((dir) => instance.includes(readNode(dir).id));
        return owner >= 0;
      },
      5_000,
      () => `nobody owns ${String(id)}`,
    );
    return owner + 1;
  }

  /** The operation as some gateway has it. One whose server has just read its files anew may leave a request without an answer. */
  async operation(id: unknown): Promise<Body | undefined> {
    for (const node of [1, 2, 3]) {
      const asked = this.lab.fetch(`/v1/operations/${String(id)}`, {}, node).catch(() => undefined);
      const reply = await Promise.race([asked, sleep(ASK_MS, undefined, { ref: false })]);
      if (reply?.ok) return (await reply.json()) as Body;
    }
    return undefined;
  }

  async untilEnded(id: unknown, patienceMs = 60_000): Promise<Body> {
    let seen: Body | undefined;
    await waitFor(
      async () => {
        seen = (await this.operation(id)) ?? seen;
        return seen !== undefined && seen["endedAt"] !== null;
      },
      patienceMs,
      () => `${String(id)}: ${JSON.stringify(seen)}`,
    );
    return seen ?? {};
  }

  /**
   * A rotation that holds between `issue` and `remove`: everybody has a certificate of the new authority, and believes the old one too.
   * A pause comes into force before the next step, whichever that is.
   */
  async heldAfterIssue(): Promise<{ readonly id: unknown; readonly from: string; readonly to: string }> {
    for (let tries = 0; tries < 10; tries++) {
      const { generation = 0 } = (await this.show()) ?? {};
      const { id } = (await this.submit()).body;
      await this.control("pause", id);
      for (;;) {
        const { state } = await this.untilState(id, ["paused", "succeeded"], 60_000);
        if (state !== "paused") break;
        const shown = await this.show();
        const [old, next] = shown?.authorities ?? [];
        if (old && next && shown?.generation === generation + 2)
          return { id, from: old.fingerprint, to: next.fingerprint };
        await this.control("continue", id);
        await this.control("pause", id);
      }
    }
    throw new Error("no rotation could be held between its steps");
  }

  /** Waits until a rotation could begin: every member answers. */
  async untilReady(): Promise<void> {
    let said: Body = {};
    await waitFor(
      async () => {
        said = (await this.submit({ mode: "check" })).body;
        return said["state"] === "checked";
      },
      60_000,
      () => `no rotation can begin: ${JSON.stringify(said)}`,
    );
  }

  /** Steps of a rotation that would begin now. */
  async planned(): Promise<string[]> {
    const { body } = await this.submit({ mode: "plan" });
    const { steps } = body["plan"] as { readonly steps: readonly { readonly id: string }[] };
    return steps.map(({ id }) => id);
  }

  /** Waits until every node goes by that authority alone. */
  async untilSettled(fingerprint: string): Promise<void> {
    const faults = () => this.unsettled(fingerprint);
    await waitFor(
      () => faults().length === 0,
      60_000,
      () => faults().join("; "),
    );
  }

  /** Fingerprints of the authorities that a node believes. */
  believed(n: number): string[] {
    return certificatesIn(readFileSync(nodePaths(this.dir(n)).tls.ca, "utf8")).map(({ fingerprint }) => fingerprint);
  }

  /** What is not as one authority alone would have it; empty when all nodes agree with it. */
  unsettled(fingerprint: string): string[] {
    return this.dirs.flatMap((dir, at) => {
      const paths = nodePaths(dir);
      const bundle = certificatesIn(readFileSync(paths.tls.ca, "utf8"));
      const [own] = bundle;
      const leaf = new X509Certificate(readFileSync(paths.tls.certificate));
      const faults = [
        ...(bundle.length === 1 && own?.fingerprint === fingerprint ? [] : [`believes ${bundle.length} authorities`]),
        ...(own && leaf.verify(new X509Certificate(own.pem).publicKey) ? [] : ["has a certificate of another one"]),
        ...(existsSync(paths.secrets) ? keyFaults(paths.secrets, fingerprint) : []),
      ];
      return faults.map((fault) => `node-${at + 1} ${fault}`);
    });
  }

  /** Connects to the bus as a part of a node, by the node's own files. */
  connect(n: number, purpose: string): Promise<ConnectedBus> {
    const dir = this.dir(n);
    const node = readNode(dir);
    const tls = busTls(dir);
    const isNode = purpose === "node";
    return connectBus({
      ...(tls ? { tls } : {}),
      servers: readMembership(dir)?.busServers ?? [],
      credential: readCredential(dir, purpose, isNode ? node.id : `${purpose}-${node.id}`),
      ...{ origin: isNode ? node.id : "core", node, version: VERSION, log: createLogger({ level: "silent" }) },
    });
  }

  /** As a client of the API does: 503 is asked again after the time it names, under the same key. */
  async #post(route: string, body: unknown, node: number): Promise<{ status: number; body: Body }> {
    const headers = { "content-type": "application/json", "idempotency-key": randomUUID() };
    for (let tries = 1; ; tries++) {
      const reply = await this.lab.fetch(route, { method: "POST", headers, body: JSON.stringify(body) }, node);
      const answer = { status: reply.status, body: (await reply.json()) as Body };
      if (answer.status !== 503 || tries === MOST_TRIES) return answer;
      await sleep(1_000 * Number(reply.headers.get("retry-after")));
    }
  }
}

function keyFaults(file: string, fingerprint: string): string[] {
  const { authority, next } = ServerSecrets.parse(JSON.parse(readFileSync(file, "utf8")));
  const [own] = certificatesIn(authority.certificatePem);
  return [
    ...(own?.fingerprint === fingerprint ? [] : ["has the key of another one"]),
    ...(next ? ["has a second key"] : []),
  ];
}
