// SPDX-License-Identifier: Apache-2.0
/** Asks the gateway of a test machine on that machine, where alone it listens unless it is told otherwise. */
import { createHash, randomBytes, randomUUID } from "node:crypto";
import type { CommandResult } from "./local-cluster.ts";

const PORT = 8420;
const ASK_MS = 5_000;

/** Asks until the answer is 200. Pauses without a program: a read that finds nothing. */
const UNTIL_WRITABLE = `
exec 4<> <(:)
while ! { exec 3<>/dev/tcp/127.0.0.1/${PORT} && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r answer <&3 &&
  [[ $answer == *' 200 '* ]]; } 2>/dev/null; do
  exec 3>&-
  read -rt 0.03 -u 4
done`;

/** A machine on which programs can be run. */
export interface Runs {
  readonly name: string;
  exec(
    argv: readonly string[],
    options?: { readonly input?: string; readonly timeoutMs?: number },
  ): Promise<CommandResult>;
}

export interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** A key of role admin that gateways enter at their start. */
export class ApiKey {
  readonly #secret = randomBytes(32).toString("base64url");

  get text(): string {
    return `dv_tester_${this.#secret}`;
  }

  /** Text of /etc/debvisor/gateway.yaml; holds the key's hash only. */
  get gatewayYaml(): string {
    const hash = createHash("sha256").update(this.#secret).digest("hex");
    return JSON.stringify({ bootstrapTokens: [{ id: "tester", name: "tester", role: "admin", hash }] });
  }

  /** Asks a machine's gateway; undefined when it does not answer. */
  async ask(machine: Runs, method: string, route: string, body?: unknown): Promise<Answer | undefined> {
    const content = body === undefined ? "" : JSON.stringify(body);
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    const request = [
      `${method} ${route} HTTP/1.0`,
      `Host: 127.0.0.1:${PORT}`,
      `Authorization: Bearer ${this.text}`,
      ...(body === undefined ? [] : ["Content-Type: application/json", `Idempotency-Key: ${randomUUID()}`]),
      `Content-Length: ${Buffer.byteLength(content)}`,
      "",
      content,
    ].join("\r\n");
    const script = `exec 3<>/dev/tcp/127.0.0.1/${PORT} && cat >&3 && cat <&3`;
    // With a socket for its input bash believes to be run by rshd, and would read root's .bashrc, whatever that does.
    const { stdout } = await machine.exec(["bash", "--norc", "-c", script], { input: request, timeoutMs: ASK_MS });
    const status = /^HTTP\/1\.\d (\d+)/.exec(stdout)?.[1];
    if (status === undefined) return undefined;
    const text = stdout.slice(stdout.indexOf("\r\n\r\n") + 4);
    return { status: Number(status), body: JSON.parse(text || "{}") as Record<string, unknown> };
  }

  /** Whether the gateway has had a write acknowledged of late. */
  async isWritable(machine: Runs): Promise<boolean> {
    return (await this.ask(machine, "GET", "/readyz"))?.status === 200;
  }

  /**
   * Waits on the machine itself until its gateway has had a write acknowledged. One program asks again and again: a new one for each
   * question would take a seventh of a processor from those that are waited for. False when it ended before, as with its machine.
   */
  async untilWritable(machine: Runs, patienceMs: number): Promise<boolean> {
    return (await machine.exec(["bash", "--norc", "-c", UNTIL_WRITABLE], { timeoutMs: patienceMs })).code === 0;
  }

  /** Makes a key for the API, which the bus and the audit trail have to acknowledge. Returns its id. @throws Error */
  async write(machine: Runs): Promise<string> {
    const answer = await this.ask(machine, "POST", "/v1/tokens", { name: `by ${machine.name}`, role: "viewer" });
    if (answer?.status !== 201) throw new Error(`a write by ${machine.name} was refused: ${JSON.stringify(answer)}`);
    return (answer.body["token"] as { readonly id: string }).id;
  }

  /** Names of the members that a gateway shows in a state, sorted; empty when it does not answer. */
  async members(machine: Runs, state = "active"): Promise<string[]> {
    const answer = await this.ask(machine, "GET", `/v1/cluster/members?filter=state%3D${state}`);
    const items = (answer?.body["items"] ?? []) as readonly { name: string }[];
    return items.map(({ name }) => name).sort();
  }
}
