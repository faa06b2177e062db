// SPDX-License-Identifier: Apache-2.0
/** The listener: TLS with a certificate made here, and the starts that are refused, seen as a unit sees them: by exit code. */
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { connect as connectTls } from "node:tls";
import { gatewayContract } from "@debvisor/proto-events/gateway";
import { createIdentity, nodePaths, writePrivateFile } from "@debvisor/shared/node-files";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { gatewayService } from "../../../services/gateway/service.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { gatewayContext, type Rig, startPeers, startRig, until } from "./rig.ts";
import { Client } from "./stream-client.ts";

const cluster = sharedBusCluster({ servers: 1 });
const dir = mkdtempSync(path.join(tmpdir(), "debvisor-tls-"));
const tls = { cert: path.join(dir, "cert.pem"), key: path.join(dir, "key.pem") };
let ca: string;
let rig: Rig;

beforeAll(async () => {
  ca = makeCertificate();
  await startPeers(cluster(), ["node-1"]);
  rig = await startRig(cluster(), { tls });
});
afterAll(async () => {
  await rig?.[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});

function makeCertificate(): string {
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
  const made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", tls.key, "-out", tls.cert];
  execFileSync("openssl", ["req", "-x509", "-nodes", "-days", "2", ...subject, ...made], { stdio: "ignore" });
  return execFileSync("openssl", ["x509", "-in", tls.cert], { encoding: "utf8" });
}

describe("with a certificate", () => {
  const get = (options: { ca?: string }) =>
    new Promise<{ status: number; transport: string | undefined }>((resolve, reject) => {
      const headers = { authorization: rig.keys.viewer.bearer };
      request(`${rig.url}/v1/errors`, { ...options, headers, agent: false }, (response) => {
        const transport = response.headers["strict-transport-security"];
        response.resume().on("end", () => resolve({ status: response.statusCode ?? 0, transport }));
      })
        .on("error", reject)
        .end();
    });

  it("answers over https and tells browsers to stay there", async () => {
    expect(await get({ ca })).toEqual({ status: 200, transport: "max-age=31536000" });
  });

  it("is not trusted by who does not know the certificate", async () => {
    await expect(get({})).rejects.toMatchObject({ code: "DEPTH_ZERO_SELF_SIGNED_CERT" });
  });

  it("relays events over wss", async () => {
    const client = new Client(rig, "", undefined, {}, { ca });
    await until(() => client.has("caught-up"), "the live tail");
    const payload = { principal: "p", source: "s", operation: "o", permission: "p" };
    const { seq } = await rig.bus.publishEvent(gatewayContract, "call.denied", payload, { subject: "t" });
    await until(() => client.seqs.includes(seq), "the event");
    client.socket.close();
  });

  it.each(["TLSv1", "TLSv1.1"] as const)("refuses %s", async (version) => {
    const code = await new Promise<string | undefined>((resolve) => {
      const port = Number(new URL(rig.url).port);
      // OpenSSL's own security level would keep the client from even offering it.
      const offer = { minVersion: version, maxVersion: version, ciphers: "DEFAULT@SECLEVEL=0" } as const;
      const socket = connectTls({ host: "127.0.0.1", port, ca, ...offer }, () => resolve("connected"));
      socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code));
    });

    expect(code).toMatch(/PROTOCOL_VERSION/);
  });
});

/** Runs the service's own `main.ts` until it ends. */
async function run(nodeDir: string, flags: readonly string[]): Promise<{ exitCode: number | null; log: string }> {
  const main = new URL("../../../services/gateway/main.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [main, "--node-dir", nodeDir, ...flags], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env["PATH"] ?? "", NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] ?? "" },
  });
  let log = "";
  for (const output of [child.stdout, child.stderr]) output.on("data", (chunk) => (log += String(chunk)));
  const timer = setTimeout(() => child.kill("SIGKILL"), 30_000);
  const exitCode = await new Promise<number | null>((resolve) => child.on("close", resolve));
  clearTimeout(timer);
  return { exitCode, log };
}

/** A server node's folder with the credentials that the cluster's authority would give it. */
async function nodeFolder(): Promise<string> {
  const { id, pem } = createIdentity();
  const paths = nodePaths(path.join(dir, id));
  const node = { version: 1, id, name: "node-1", roles: ["server"], incarnation: 1, root: dir };
  const advertiseKey = Buffer.alloc(32).toString("base64");
  writePrivateFile(paths.node, JSON.stringify(node));
  writePrivateFile(paths.identity, pem);
  const { urls: busServers, commandSigners, verifierTrust: trust } = cluster();
  const membership = {
    ...{ version: 1, cluster: "test", formation: "one", advertiseKey, busServers, commandSigners, trust },
    joinServers: [],
  };
  writePrivateFile(paths.membership, JSON.stringify(membership));
  // Its nats-server has belonged to a cluster; a server's services wait for that.
  writePrivateFile(path.join(paths.nats, "formed"), "node-1\n");
  writePrivateFile(paths.credential("node"), (await cluster().issuer.forNode(id)).creds);
  const core = await cluster().issuer.forCore("gateway", id, [gatewayContract]);
  writePrivateFile(paths.credential("gateway"), core.creds);
  return paths.dir;
}

describe("the process", () => {
  it("ends with exit code 2 when it should listen for others without TLS", async () => {
    const { exitCode, log } = await run(await nodeFolder(), ["--host=0.0.0.0", "--port=0"]);

    expect(exitCode).toBe(2);
    expect(log).toContain("CONFIG_INVALID");
  });

  it("ends with the exit code of a conflict when its port is taken", async () => {
    const taken = await new Promise<Server>((resolve) => {
      const server = createServer().listen(0, "127.0.0.1", () => resolve(server));
    });
    const { port } = taken.address() as { port: number };
    const { exitCode, log } = await run(await nodeFolder(), [`--port=${port}`]);
    taken.close();

    expect(exitCode).toBe(5);
    expect(log).toContain("PORT_BUSY");
  });
});

describe("a start that cannot listen", () => {
  it.each([
    ["names a certificate that is missing", { tls: { cert: "/nowhere/cert.pem", key: tls.key } }, "/nowhere/cert.pem"],
    ["names a key that is no key", { tls: { cert: tls.cert, key: path.join(dir, "junk.pem") } }, "junk.pem"],
    ["names an address of another machine", { host: "192.0.2.1", tls }, "192.0.2.1"],
  ])("%s with CONFIG_INVALID", async (_title, config, named) => {
    writeFileSync(path.join(dir, "junk.pem"), "junk");
    const context = await gatewayContext(cluster(), config);
    const failure = await gatewayService.start(context).then(
      () => undefined,
      (error: unknown) => error,
    );
    await context.coreBus.close();

    expect(failure).toMatchObject({ code: "CONFIG_INVALID", exitCode: 2 });
    expect((failure as Error).message).toContain(named);
  });

  it.each(["0.0.0.0", "::", "192.168.1.5", "localhost.example.com", "127.evil", ""])(
    "refuses %j without TLS before it opens anything",
    (host) => {
      expect(gatewayService.config.safeParse({ host }).error?.issues[0]?.path).toEqual(["tls"]);
    },
  );
});
