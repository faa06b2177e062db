// SPDX-License-Identifier: Apache-2.0
/**
 * Nodes with systemd as process 1, the project's units and only a preseed file: a cluster, a worker whose join is killed, a reboot by
 * the cluster's own order, and what Avahi sees. Needs mmdebstrap once, for a Debian tree of 220 MB (test/support/systemd-tree.ts).
 */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ApiKey } from "../../support/gateway-on-machine.ts";
import { type Lan, startLan } from "../../support/lan.ts";
import { type SystemdNode, startSystemdNode } from "../../support/systemd-nodes.ts";
import { systemdNodesLack, systemdTree } from "../../support/systemd-tree.ts";
import { waitFor } from "../../support/wait-for.ts";

const MINUTE = 60_000;
const AVAHI = ["avahi-daemon.service", "avahi-daemon.socket"];
const PROJECT = "/opt/debvisor";
const lacking = systemdNodesLack();

describe.skipIf(lacking.length > 0)(
  `systemd nodes (lacking here: ${lacking.join(", ") || "nothing"})`,
  { timeout: 3 * MINUTE },
  () => {
    const key = new ApiKey();
    const secret = randomBytes(32).toString("base64");
    const nodes: SystemdNode[] = [];
    let lan: Lan;
    let first: SystemdNode;

    beforeAll(async () => {
      await systemdTree();
      lan = await startLan({ hosts: 6 });
    }, 10 * MINUTE);
    afterAll(async () => {
      await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
      await lan[Symbol.asyncDispose]();
    }, MINUTE);

    async function start(host: number, more: readonly string[] = []): Promise<SystemdNode> {
      const lines = ["cluster: lab", `secret: ${secret}`, "servers: 3", ...more, ""];
      const files = { "preseed.yaml": lines.join("\n"), "gateway.yaml": key.gatewayYaml };
      const node = await startSystemdNode(lan, host, { files, masked: AVAHI });
      nodes.push(node);
      return node;
    }

    async function untilWritable(servers: readonly SystemdNode[], patienceMs: number): Promise<void> {
      for (const node of servers) {
        await waitFor(
          () => key.isWritable(node),
          patienceMs,
          () => `the gateway of ${node.name} is not ready: ${node.console.slice(-500)}`,
        ).catch(async (error: unknown) => {
          throw new Error(`${String(error)}\n${await journals()}`);
        });
      }
    }

    async function journals(): Promise<string> {
      return (await Promise.all(nodes.map((one) => one.journal()))).join("\n");
    }

    async function untilMembers(names: readonly string[]): Promise<void> {
      let seen: string[] = [];
      await waitFor(
        async () => {
          seen = await key.members(first);
          return seen.join() === names.join();
        },
        MINUTE,
        () => `the members are ${seen.join()}`,
      );
    }

    /** dvctl on the first node, as an operator there would run it. */
    async function dvctl(...args: string[]) {
      const program = [`${PROJECT}/node_modules/.bin/debvisor-node`, `${PROJECT}/apps/cli/src/dvctl.ts`];
      const argv = ["env", "DV_CONTEXT=/root/context.json", "HOME=/root", ...program, ...args];
      return await first.exec(argv, { timeoutMs: 2 * MINUTE });
    }

    test("three form a cluster that takes writes on each; all units are up, and none has failed", async ({
      annotate,
    }) => {
      const startedAt = performance.now();
      const servers = await Promise.all([0, 1, 2].map((host) => start(host)));
      [first] = servers as [SystemdNode];
      await untilWritable(servers, 2 * MINUTE);
      await annotate(
        `three systemd nodes, power-on to writable on each: ${Math.round(performance.now() - startedAt)} ms`,
      );

      await untilMembers(["s1", "s2", "s3"]);
      for (const node of servers) {
        expect(await key.write(node)).toMatch(/^[a-z0-9]+$/);
        expect((await node.exec(["systemctl", "--failed", "--plain", "--no-legend"])).stdout).toBe("");
        expect(await node.show("debvisor.target", "ActiveState")).toEqual({ ActiveState: "active" });
      }
    });

    test("a service sees its own credentials and neither those of others nor the cluster's secrets", async () => {
      const look = async (unit: string): Promise<string> => {
        const pid = (await first.show(unit, "MainPID"))["MainPID"] ?? "";
        const script = "ls /run/credentials/*/; ls /var/lib/debvisor/credentials /var/lib/debvisor/secrets; id -un";
        const argv = [
          "nsenter",
          "--target",
          pid,
          "--mount",
          "setpriv",
          "--reuid=debvisor",
          "--clear-groups",
          "sh",
          "-c",
        ];
        return (await first.exec([...argv, script])).stdout.trim();
      };
      expect(await look("debvisor-rpcd.service")).toBe("gateway.creds\nnode.creds\ndebvisor");
      expect(await look("debvisor-nats.service")).toBe("system.creds\ndebvisor");
      expect(await look("debvisor-discovery.service")).toContain("server.json");
    });

    test("a fourth joins as a worker although its join is killed twice; what only servers run stays off", async () => {
      const worker = await start(3, ["role: worker"]);
      for (let round = 0; round < 2; round++) {
        await worker.exec(["systemctl", "kill", "--signal=KILL", "debvisor-join.service"]);
        await new Promise((resolve) => setTimeout(resolve, 1_300));
      }
      await untilMembers(["s1", "s2", "s3", "s4"]);
      await waitFor(
        async () => (await worker.show("debvisor-audit.service", "ActiveState"))["ActiveState"] === "active",
        20_000,
        () => "the services of the worker do not start",
      );
      expect(await worker.show("debvisor-nats.service", "ActiveState", "ConditionResult")).toEqual({
        ActiveState: "inactive",
        ConditionResult: "no",
      });
    });

    test("dvctl nodes reboot restarts a node, which comes back as the same member", async () => {
      const context = { version: 1, cluster: "lab", servers: ["http://127.0.0.1:8420"], token: key.text };
      await first.exec(["sh", "-c", "umask 077; cat > /root/context.json"], { input: JSON.stringify(context) });
      // They are listed in the order in which they came up.
      const second = nodes.find(({ name }) => name === "s2") as SystemdNode;
      const bootId = async (): Promise<string> =>
        (await second.exec(["cat", "/proc/1/stat"])).stdout.split(" ")[21] ?? "";
      const before = await bootId();

      const { code, stdout, stderr } = await dvctl("nodes", "reboot", "s2", "--reason", "test", "--confirm");

      if (code !== 0) throw new Error(`${code} ${stdout} ${stderr}\n${await journals()}`);
      await second.untilBooted();
      expect(await bootId()).not.toBe(before);
      await untilWritable([second], 2 * MINUTE);
      await untilMembers(["s1", "s2", "s3", "s4"]);
    });

    test("Avahi's browser sees every node, and a service that Avahi publishes under a node's name changes nothing", async () => {
      const observer = await startSystemdNode(lan, 4, { name: "observer" });
      nodes.push(observer);
      const browse = ["avahi-browse", "--resolve", "--parsable", "--terminate", "_debvisor._tcp"];
      let seen = "";
      await waitFor(
        async () => {
          seen = (await observer.exec(browse, { timeoutMs: 10_000 })).stdout;
          return [0, 1, 2, 3].every((host) => seen.includes(lan.address(host)));
        },
        30_000,
        () => `seen: ${seen}`,
      );
      const named = seen.split("\n").find((line) => line.startsWith("=") && line.includes(lan.address(0)));
      const [, , , instance = ""] = named?.split(";") ?? [];

      const publish = ["avahi-publish-service", instance, "_debvisor._tcp", "8422", "v=1", "st=ready"];
      const impostor = observer.exec(["timeout", "25", ...publish], { timeoutMs: 30_000 });
      const newcomer = await start(5, ["role: worker"]);
      await untilMembers(["s1", "s2", "s3", "s4", "s6"]);
      expect((await newcomer.show("debvisor-join.service", "ActiveState", "Result"))["Result"]).toBe("success");
      await impostor;
    });
  },
);
