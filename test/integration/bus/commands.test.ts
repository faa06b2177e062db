// SPDX-License-Identifier: Apache-2.0
/**
 * Orders to nodes (RULES.md 11): what a node obeys, and every way in which somebody who reaches its subjects without the right
 * tries to be obeyed. The attackers send through the gateway's credential, which may reach every node, or with none of the
 * bus at all; nothing of theirs may have an effect, and each attempt is reported on the node.
 */
import { randomBytes } from "node:crypto";
import { contract, operation } from "@debvisor/proto-events/kit";
import { auditSubject, eventSubject, rpcSubject } from "@debvisor/proto-events/subjects";
import type { Order, Refusal } from "@debvisor/shared/bus/bus";
import { sealCommand, signerOf } from "@debvisor/shared/bus/command";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { lastAudit } from "@debvisor/shared/bus/permissions";
import { commandSigners, createIssuer, createTrustSeeds } from "@debvisor/shared/bus/trust";
import { systemClock } from "@debvisor/shared/clock";
import { encodeUser } from "@nats-io/jwt";
import { headers as createHeaders, type MsgHdrs, type NatsConnection } from "@nats-io/nats-core";
import { createAccount, createUser, fromSeed } from "@nats-io/nkeys";
import fc from "fast-check";
import { beforeAll, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { allDelivered } from "../../support/attacker.ts";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";

const cluster = sharedBusCluster({ servers: 1 });
const victim = randomNodeId();
const ORDER: Order = {
  operation: "op-aaaaaaaaaaaaa",
  step: "write",
  direction: "do",
  epoch: 1,
  resource: "node/n/file//etc/motd",
  fence: 7,
};
const INPUT = { text: "hello" };

/** A service whose node part is commanded by the core part of the same name. */
function commanded(service: string) {
  const node = (effect: "read" | "change") =>
    operation({
      summary: "Does what the text says.",
      scope: "node",
      effect,
      idempotent: true,
      timeoutMs: 3_000,
      permission: `${service}:text:${effect}`,
      input: z.strictObject({ text: z.string() }),
      output: z.object({ text: z.string(), order: z.unknown() }),
      errors: [],
      http: null,
      cli: null,
    });
  return contract({
    service,
    summary: "Is commanded in tests.",
    uses: { commands: [service] },
    operations: { change: node("change"), alter: node("change"), look: node("read") },
    events: {},
  });
}
const doer = commanded("doer");
const other = commanded("other");

const done: string[] = [];
const refusals: Refusal[] = [];
let node: ConnectedBus;
let core: ConnectedBus;
let gateway: ConnectedBus;

beforeAll(async () => {
  node = await cluster().connectNode(victim);
  node.onRefused((refusal) => void refusals.push(refusal));
  const act = (name: string) => (input: { text: string }, context: { order: Order | undefined }) => {
    done.push(`${name} ${input.text}`);
    return { text: input.text, order: context.order ?? null };
  };
  await node.serve(doer, "node", { change: act("change"), alter: act("alter"), look: act("look") });
  core = await connectAs("doer", [doer]);
  gateway = await cluster().connectCore("gateway");
});

beforeEach(() => {
  done.length = 0;
  refusals.length = 0;
});

async function connectAs(service: string, contracts: Parameters<ReturnType<typeof createIssuer>["forCore"]>[2]) {
  const id = randomNodeId();
  const credential = await cluster().issuer.forCore(service, id, contracts);
  return cluster().connect({ credential, origin: "core", node: { id, name: "server" } });
}

test("an order reaches its node with everything that was signed", async () => {
  const answer = await core.command(victim, doer, "change", INPUT, ORDER);

  expect(answer).toEqual({ text: "hello", order: ORDER });
  expect(done).toEqual(["change hello"]);
  expect(refusals).toEqual([]);
});

test("an order without resource, and one to undo, arrive as they are", async () => {
  const plain: Order = { ...ORDER, direction: "undo", resource: null, fence: null };

  expect(await core.command(victim, doer, "alter", INPUT, plain)).toEqual({ text: "hello", order: plain });
});

test("a read needs no envelope", async () => {
  expect(await gateway.request(victim, doer, "look", INPUT)).toEqual({ text: "hello", order: null });
});

test("who asked, from where and for which operation comes along, printable and cut", async () => {
  const seen: unknown[] = [];
  const bus = await cluster().connectNode();
  const keep = (_input: unknown, { user, source, operation: of, traceId, actor }: Record<string, unknown>) => {
    seen.push({ user, source, operation: of, traceId, actor });
    return { text: "", order: null };
  };
  await bus.serve(other, "node", { change: keep, alter: keep, look: keep } as never);
  const trace = randomBytes(16).toString("hex");

  await gateway.request(bus.user, other, "look", INPUT, {
    actor: "token-1",
    user: `jürgen\r\nDv-Actor: root\u001b[31m\u202e${"x".repeat(300)}`,
    source: "192.0.2.7",
    operation: ORDER.operation,
    traceparent: `00-${trace}-00f067aa0ba902b7-01`,
  });
  await gateway.request(bus.user, other, "look", INPUT);

  expect(seen).toEqual([
    {
      actor: "token-1",
      user: `jürgenDv-Actor: root[31m${"x".repeat(300)}`.slice(0, 200),
      source: "192.0.2.7",
      operation: ORDER.operation,
      traceId: trace,
    },
    { actor: "system", user: undefined, source: undefined, operation: undefined, traceId: undefined },
  ]);
});

interface Attempt {
  readonly headers: MsgHdrs;
  readonly payload: Uint8Array;
}

const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const sealed = (change: Partial<Parameters<typeof sealCommand>[2]> = {}, signer = core.signer): Attempt => {
  const headers = createHeaders();
  const payload = bytes(INPUT);
  sealCommand(headers, signer, {
    cmd: "doer.change",
    node: victim,
    order: ORDER,
    payload,
    clock: systemClock,
    ...change,
  });
  return { headers, payload };
};
const at = (ms: number) => ({ ...systemClock, now: () => Date.now() + ms });

function altered(name: string, change: (value: string) => string): Attempt {
  const attempt = sealed();
  attempt.headers.set(name, change(attempt.headers.get(name)));
  return attempt;
}

/** The envelope with other content, under the old signature or a new one of the same key. */
function rewritten(change: (envelope: Record<string, unknown>) => unknown, sign: boolean): Attempt {
  const attempt = sealed();
  const envelope = JSON.parse(Buffer.from(attempt.headers.get("Dv-Command"), "base64url").toString());
  const text = Buffer.from(JSON.stringify(change(envelope)));
  attempt.headers.set("Dv-Command", text.toString("base64url"));
  if (sign) attempt.headers.set("Dv-Command-Sig", Buffer.from(core.signer.sign(text)).toString("base64url"));
  return attempt;
}

/** A user with the right tag that somebody other than the cluster's authority signed, or claims to have been signed by it. */
async function selfMade(iss?: string) {
  const [account, user] = [createAccount(), createUser()];
  let jwt = await encodeUser(core.user, user, account, { tags: ["command:doer"] } as never);
  if (iss !== undefined) {
    const [header = "", body = "", signature = ""] = jwt.split(".");
    const claims = { ...JSON.parse(Buffer.from(body, "base64url").toString()), iss };
    jwt = [header, Buffer.from(JSON.stringify(claims)).toString("base64url"), signature].join(".");
  }
  return { user: core.user, jwt, publicKey: user.getPublicKey(), sign: (text: Uint8Array) => user.sign(text) };
}

const trustedIssuer = () => JSON.parse(Buffer.from(core.signer.jwt.split(".")[1] ?? "", "base64url").toString()).iss;

const ATTACKS: readonly (readonly [string, Refusal["cause"], () => Attempt | Promise<Attempt>])[] = [
  ["no envelope", "missing", () => ({ headers: createHeaders(), payload: bytes(INPUT) })],
  ["an envelope that is no JSON", "malformed", () => altered("Dv-Command", () => "bm8ganNvbg")],
  ["no signature", "malformed", () => altered("Dv-Command-Sig", () => "")],
  ["an envelope with a field more", "malformed", () => rewritten((old) => ({ ...old, x: 1 }), true)],
  ["an envelope in another spelling", "malformed", () => rewritten(({ v, ...old }) => ({ v, ...old }), true)],
  ["an envelope of 8 KiB", "malformed", () => rewritten((old) => ({ ...old, resource: "x".repeat(8_192) }), true)],
  ["an envelope that lives a year", "malformed", () => rewritten((old) => ({ ...old, expiresAt: 9e12 }), true)],
  ["a forged signature", "signature", () => altered("Dv-Command-Sig", () => randomBytes(64).toString("base64url"))],
  ["a signature of zeros", "signature", () => altered("Dv-Command-Sig", () => Buffer.alloc(64).toString("base64url"))],
  ["a changed envelope", "signature", () => rewritten((old) => ({ ...old, epoch: 99 }), false)],
  ["the order of another node", "node", () => sealed({ node: randomNodeId() })],
  ["the order of another command", "command", () => sealed({ cmd: "doer.alter" })],
  ["changed arguments", "arguments", () => ({ ...sealed(), payload: bytes({ text: "evil" }) })],
  ["an order of ten minutes ago", "expired", () => sealed({ clock: at(-600_000) })],
  ["an order from the future", "expired", () => sealed({ clock: at(600_000) })],
  ["the name of another issuer", "issuer", () => sealed({}, { ...core.signer, user: "root" })],
  ["a certificate that is no JWT", "issuer", () => altered("Dv-Command-Cert", () => "a.b.c")],
  ["no certificate", "issuer", () => altered("Dv-Command-Cert", () => "")],
  ["a certificate of one's own", "issuer", async () => sealed({}, await selfMade())],
  ["one that claims the trusted issuer", "issuer", async () => sealed({}, await selfMade(trustedIssuer()))],
  [
    "a certificate of another cluster",
    "issuer",
    async () => {
      const issuer = createIssuer(createTrustSeeds());
      return sealed({}, signerOf(await issuer.forCore("doer", randomNodeId(), [doer])));
    },
  ],
  [
    "the certificate of a node",
    "issuer",
    async () => sealed({}, signerOf(await cluster().issuer.forNode(randomNodeId()))),
  ],
  [
    "the certificate of the system user",
    "issuer",
    async () => sealed({}, signerOf(await cluster().issuer.forSystem(randomNodeId()))),
  ],
  [
    "the certificate of the stream administrator",
    "right",
    async () => sealed({}, signerOf(await cluster().issuer.forStreamAdmin(randomNodeId()))),
  ],
  [
    "the right of another service",
    "right",
    async () => sealed({}, signerOf(await cluster().issuer.forCore("other", randomNodeId(), [other]))),
  ],
  ["the gateway's own certificate", "right", () => sealed({}, gateway.signer)],
  [
    "somebody else's certificate",
    "signature",
    () => sealed({}, { ...gateway.signer, user: core.user, jwt: core.signer.jwt }),
  ],
];

async function send(attempt: Attempt, wire = "change") {
  const subject = rpcSubject(victim, "doer", wire);
  const reply = await gateway.connection.request(subject, attempt.payload, {
    timeout: 3_000,
    headers: attempt.headers,
  });
  return reply.json() as { ok: boolean; error?: { code: string; details?: Record<string, unknown> } };
}

test.for(ATTACKS)("%s: nothing happens, the answer and the node's report say %s", async ([, cause, attack]) => {
  const reply = await send(await attack());

  expect(done).toEqual([]);
  expect(reply).toMatchObject({ ok: false, error: { code: "COMMAND_REFUSED", details: { cause } } });
  expect(refusals).toMatchObject([{ command: "doer.change", cause }]);
});

test("random headers of an envelope are always answered with a refusal", async () => {
  const text = fc.string({ unit: fc.integer({ min: 0x20, max: 0x7e }).map((at) => String.fromCharCode(at)) });
  const json = fc.jsonValue().map((value) => Buffer.from(JSON.stringify(value)).toString("base64url"));
  const any = fc.oneof(
    text,
    json,
    fc.tuple(json, json, json).map((parts) => parts.join(".")),
  );
  const NAMES = ["Dv-Command", "Dv-Command-Sig", "Dv-Command-Cert"];

  await fc.assert(
    fc.asyncProperty(fc.array(fc.option(any), { minLength: 3, maxLength: 3 }), async (values) => {
      const attempt = sealed();
      for (const [i, value] of values.entries()) if (value !== null) attempt.headers.set(NAMES[i] ?? "", value);
      fc.pre(values.some((value) => value !== null));
      expect(await send(attempt)).toMatchObject({ error: { code: "COMMAND_REFUSED" } });
    }),
    { numRuns: 300 },
  );
  expect(done).toEqual([]);
});

test("an order that is sent again is refused", async () => {
  const order = sealed();

  const replies = [await send(order), await send(order)];

  expect(replies).toMatchObject([{ ok: true }, { error: { code: "COMMAND_REFUSED", details: { cause: "replayed" } } }]);
  expect(done).toEqual(["change hello"]);
  expect(refusals).toMatchObject([{ cause: "replayed", issuer: core.user }]);
});

test("the refusal of an order that is past its time tells how far the clocks are apart", async () => {
  const { error } = await send(sealed({ clock: at(-600_000) }));

  expect(Math.round(Number(error?.details?.["skewMs"]) / 1_000)).toBe(600);
});

test.for([-200_000, 200_000])("a clock that is %d ms off is put up with", async (ms) => {
  expect(await send(sealed({ clock: at(ms) }))).toMatchObject({ ok: true });
});

test("an order without the right is sent, and the node refuses it", async () => {
  const order = gateway.command(victim, doer, "change", INPUT, ORDER);

  await expect(order).rejects.toMatchObject({ code: "COMMAND_REFUSED", details: { cause: "right" } });
  expect(done).toEqual([]);
  expect(refusals).toMatchObject([{ issuer: gateway.user, cause: "right" }]);
});

test("an envelope is refused before the arguments are looked at", async () => {
  const reply = await send({ headers: createHeaders(), payload: new TextEncoder().encode("no json") });

  expect(reply).toMatchObject({ error: { code: "COMMAND_REFUSED", details: { cause: "missing" } } });
});

test("a node that trusts nobody refuses everything", async () => {
  const bus = await cluster().connectNode(undefined, { commandSigners: [] });
  const act = () => ({ text: "", order: done.push("obeyed") });
  await bus.serve(doer, "node", { change: act, alter: act, look: act });

  const order = core.command(bus.user, doer, "change", INPUT, ORDER);

  await expect(order).rejects.toMatchObject({ code: "COMMAND_REFUSED", details: { cause: "issuer" } });
  expect(done).toEqual([]);
});

test("an acknowledgement or a record that a node has the server send to a command's subject does nothing", async () => {
  const evil = randomNodeId();
  const attacker: NatsConnection = await cluster().connectBare(await cluster().issuer.forNode(evil));
  const subject = rpcSubject(victim, "doer", "change");
  const { headers, payload } = sealed();

  attacker.publish(auditSubject(evil), payload, { headers });
  await attacker.flush();
  for (const from of [
    eventSubject(evil, "node-agent.agent.started"),
    auditSubject(evil),
    lastAudit(auditSubject(evil)),
  ])
    attacker.publish(from, payload, { reply: subject, headers });
  await allDelivered(attacker, () => gateway.eventRange(), [node.connection, gateway.connection]);

  expect(done).toEqual([]);
  expect(await send({ headers, payload })).toMatchObject({ ok: true });
});

test("the keys that nodes are told to trust are those that sign the users of core parts", async () => {
  const seeds = createTrustSeeds();
  const credential = await createIssuer(seeds).forCore("doer", randomNodeId(), [doer]);
  const claims = JSON.parse(Buffer.from(signerOf(credential).jwt.split(".")[1] ?? "", "base64url").toString());

  expect(commandSigners(seeds)).toEqual([claims.iss]);
  expect(claims.nats.tags).toEqual(["command:doer"]);
  expect(fromSeed(new TextEncoder().encode(seeds.coreSigner)).getPublicKey()).toBe(claims.iss);
});
