// SPDX-License-Identifier: Apache-2.0
/** Who gets onto the bus at all: names that the issuer refuses, strangers, the port between the servers. */
import { connect as dial } from "node:net";
import { createIssuer, createTrustSeeds } from "@debvisor/shared/bus/trust";
import { credsOf, newUserKey, userKeyOf } from "@debvisor/shared/bus/user-keys";
import { connect, credsAuthenticator } from "@nats-io/transport-node";
import { expect, test } from "vitest";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";

const cluster = sharedBusCluster({ servers: 1 });
const WIDENING = ["*", ">", "a.b", "a.>", "no de", "", "-a", "a-", "A", "{{name()}}", "a\nb", "a".repeat(64)];

test.for(WIDENING)("the issuer signs no user that could widen a subject: %j", async (name) => {
  const { issuer } = cluster();

  await expect(issuer.forNode(name)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(issuer.forCore(`x${name}`, name, [])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(issuer.forNodeKey(name, newUserKey().publicKey)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(issuer.forEventReader(name)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(issuer.forStreamAdmin(name)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(issuer.forSystem(name)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});

test("the issuer signs no node that would own the subjects of the core parts", async () => {
  await expect(cluster().issuer.forNode("core")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});

test("a node whose seed never left its machine gets in with the JWT for its key, and with no other key", async () => {
  const id = randomNodeId();
  const [own, other] = [newUserKey(), newUserKey()];
  const jwt = await cluster().issuer.forNodeKey(id, own.publicKey);
  const credential = { user: id, creds: credsOf(jwt, own.seed) };

  const bus = await cluster().connect({ credential, origin: id, node: { id, name: "n" } });
  expect(bus.connected).toBe(true);
  expect(userKeyOf(credential)).toBe(own.publicKey);
  expect(() => credsOf(jwt, other.seed)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  expect(() => credsOf("no.jwt.", own.seed)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  const stolen = { user: id, creds: credential.creds.replace(own.seed, other.seed) };
  await expect(cluster().connectBare(stolen)).rejects.toThrow(/authorization/i);
});

test.for(["", "U", `U${"A".repeat(55)}`, "account", "seed"])(
  "the issuer signs no key that is no user's: %s",
  async (what) => {
    const { core } = createTrustSeeds();
    const keys: Record<string, string> = { account: Object.keys(cluster().trust.accounts)[0] ?? "", seed: core };

    await expect(cluster().issuer.forNodeKey(randomNodeId(), keys[what] ?? what)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  },
);

test("nobody connects without a credential, nor with one of another authority", async () => {
  const foreign = await createIssuer(createTrustSeeds()).forNode(randomNodeId());
  const servers = cluster().urls;
  const authenticator = credsAuthenticator(new TextEncoder().encode(foreign.creds));

  await expect(connect({ servers, reconnect: false })).rejects.toThrow(/authorization/i);
  await expect(connect({ servers, reconnect: false, user: "route", pass: cluster().routePassword })).rejects.toThrow(
    /authorization/i,
  );
  await expect(connect({ servers, reconnect: false, authenticator })).rejects.toThrow(/authorization/i);
});

test.for([
  ["no password", {}],
  ["a wrong password", { user: "route", pass: "guess" }],
  ["a client's greeting", { jwt: "x", sig: "x", lang: "node" }],
] as const)("the port between the servers refuses %s", async ([, greeting]) => {
  const answer = await greetRoute(cluster().server(0).route, greeting);

  expect(answer).toContain("-ERR 'Authorization Violation'");
});

/** Greets as another server and returns what came until the server hung up. */
function greetRoute(route: string, greeting: object): Promise<string> {
  const [host, port] = route.split(":");
  return new Promise((resolve, reject) => {
    const socket = dial({ host: host ?? "", port: Number(port) });
    let text = "";
    socket.setEncoding("utf8");
    socket.once("data", () => {
      const hello = {
        verbose: false,
        pedantic: false,
        tls_required: false,
        name: "stranger",
        cluster: "test",
        ...greeting,
      };
      socket.write(`CONNECT ${JSON.stringify(hello)}\r\nPING\r\n`);
    });
    socket.on("data", (chunk) => {
      text += String(chunk);
    });
    socket.once("close", () => resolve(text));
    socket.once("error", reject);
    socket.setTimeout(5_000, () => socket.destroy(new Error(`the server keeps the connection: ${text}`)));
  });
}
