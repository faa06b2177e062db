// SPDX-License-Identifier: Apache-2.0
/**
 * docker-compose.yml as a user starts it: three machines of containers form a cluster, the gateway answers on 127.0.0.1 and nowhere else,
 * and after `down` and `up` it is the same cluster. A Docker daemon of the test's own, with a base image made here.
 */
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ROOT } from "../../tools/paths.ts";
import { DockerDaemon, dockerLacks } from "../support/docker-daemon.ts";
import { type Lan, startLan } from "../support/lan.ts";
import { waitFor } from "../support/wait-for.ts";

const MINUTE = 60_000;
const DVCTL = path.join(ROOT, "apps/cli/src/dvctl.ts");
const lacking = dockerLacks();

describe.skipIf(lacking.length > 0)(`docker-compose.yml (lacking here: ${lacking.join(", ") || "nothing"})`, () => {
  let lan: Lan;
  let docker: DockerDaemon;
  beforeAll(async () => {
    lan = await startLan({ hosts: 2 });
    docker = new DockerDaemon(lan);
    await docker.start();
  }, 10 * MINUTE);
  afterAll(async () => {
    await docker[Symbol.asyncDispose]();
    await lan[Symbol.asyncDispose]();
  }, MINUTE);

  /** dvctl on the host of the containers, with the key that `setup` made. */
  async function dvctl(...args: string[]) {
    const env = {
      DV_CONTEXT: path.join(docker.volume("cluster"), "context.json"),
      NODE_EXTRA_CA_CERTS: path.join(docker.volume("node-1"), "tls/ca.pem"),
    };
    return await lan.exec(0, [process.execPath, DVCTL, ...args], { env, timeoutMs: MINUTE });
  }

  async function up(): Promise<string> {
    const { code, stderr } = await docker.compose("up", "--detach");
    expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
    let seen = "";
    await waitFor(
      async () => {
        const { stdout, stderr: said } = await dvctl(
          "cluster",
          "members",
          "--filter",
          "state=active,alive=alive",
          "--json",
        );
        seen = `${stdout}${said}`;
        return stdout !== "" && (JSON.parse(stdout) as { items: unknown[] }).items.length === 3;
      },
      2 * MINUTE,
      () => seen,
    );
    const { formation } = JSON.parse((await dvctl("cluster", "status", "--json")).stdout) as { formation: string };
    return formation;
  }

  test("up forms a cluster of three that takes writes; the API is for this host alone", {
    timeout: 5 * MINUTE,
  }, async () => {
    const formation = await up();
    expect(formation).toMatch(/^[0-9a-f]{32}$/);
    const made = await dvctl("tokens", "create", "by-the-test", "--role", "viewer");
    expect({ code: made.code, stderr: made.stderr }).toMatchObject({ code: 0 });
    const script = `exec 3<>/dev/tcp/${lan.address(0)}/8420`;
    const other = await lan.exec(1, ["timeout", "2", "bash", "--norc", "-c", script]);
    expect(other.code).not.toBe(0);

    // One process a container: the init, what was asked for, and nats-server as the child of the bus's keeper.
    const top = await docker.compose("top", "discovery-1");
    expect(top.stdout.match(/services\/discovery\/main\.ts/g)?.length).toBe(2);

    expect((await docker.compose("down")).code).toBe(0);
    expect(await up()).toBe(formation);
  });
});
