// SPDX-License-Identifier: Apache-2.0
/**
 * One simulated agent: its own connection and credential, one subscription to the requests of its node. It is a lean responder,
 * not a `Bus`: ten thousand of those, each with the endpoints and `$SRV` subscriptions of a service, do not fit on a laptop. Frames,
 * subjects and permissions are the real ones; the input is not validated and `$SRV` is not answered.
 */
import { inboxPrefix, parseRpcSubject, SUBJECT_FILTERS, telemetrySubject } from "@debvisor/proto-events/subjects";
import { credentialAuthenticator } from "@debvisor/shared/bus/keys";
import { okReply } from "@debvisor/shared/bus/wire";
import type { Msg, NatsConnection } from "@nats-io/nats-core";
import { connect } from "@nats-io/transport-node";
import type { Behaviour } from "./faults.ts";
import { type AgentIdentity, ANSWERS, FAILURE, heartbeat, MALFORMED, REFUSAL } from "./replies.ts";

/** What an agent needs to know. */
export interface AgentSpec extends AgentIdentity {
  readonly creds: string;
  readonly behaviour: Behaviour;
}

/** What the agents of a fleet share. */
export interface AgentOptions {
  readonly servers: readonly string[];
  /** Delay of `slow` agents. */
  readonly slowMs: number;
  readonly bootId: string;
}

const encoder = new TextEncoder();
/** Time in all replies; made once, since making it costs as much as the rest of an answer. */
const startedAt = new Date().toISOString();

export class SimulatedAgent {
  readonly #spec: AgentSpec;
  readonly #options: AgentOptions;
  #connection: NatsConnection | undefined;
  #sequence = 0;
  #asked = 0;

  constructor(spec: AgentSpec, options: AgentOptions) {
    this.#spec = spec;
    this.#options = options;
  }

  /** Requests received. */
  get asked(): number {
    return this.#asked;
  }

  /** Connects and subscribes; resolves when the server has both. A dead agent does nothing. */
  async start(): Promise<void> {
    const { id, creds, behaviour } = this.#spec;
    if (behaviour === "dead") return;
    const connection = await connect({
      servers: [...this.#options.servers],
      name: id,
      authenticator: credentialAuthenticator(creds),
      inboxPrefix: inboxPrefix(id),
      timeout: 20_000,
      maxReconnectAttempts: -1,
      reconnectJitter: 2_000,
      pingInterval: 60_000,
    });
    this.#connection = connection;
    connection.subscribe(SUBJECT_FILTERS.rpcOf(id), {
      callback: (error, message) => void (error ?? this.#take(message)),
    });
    await connection.flush();
  }

  /** Publishes a heartbeat. */
  beat(): void {
    const connection = this.#connection;
    if (!connection || connection.isClosed()) return;
    const payload = heartbeat(this.#spec, this.#sequence++, this.#options.bootId);
    connection.publish(telemetrySubject(this.#spec.id, "node-agent", "heartbeat"), JSON.stringify(payload));
  }

  async stop(): Promise<void> {
    await this.#connection?.close();
  }

  #take(message: Msg): void {
    this.#asked++;
    switch (this.#spec.behaviour) {
      case "silent":
      case "dead":
        return;
      case "slow":
        setTimeout(() => this.#answer(message), this.#options.slowMs);
        return;
      case "duplicate":
        this.#answer(message);
        this.#answer(message);
        return;
      case "malformed":
        message.respond(MALFORMED[this.#asked % MALFORMED.length] ?? "");
        return;
      case "failing":
        message.respond(FAILURE);
        return;
      case "refusing":
        message.respond(REFUSAL);
        return;
      case "good":
        this.#answer(message);
    }
  }

  #answer(message: Msg): void {
    const { operation } = parseRpcSubject(message.subject);
    if (!this.#connection?.isClosed()) message.respond(replyBytes(this.#spec, operation));
  }
}

const shared = new Map<string, Uint8Array>();

/** The bytes of an answer. All agents of a process share them, but for facts, which hold the host's name. */
function replyBytes(agent: AgentIdentity, operation: string): Uint8Array {
  const known = shared.get(operation);
  if (known) return known;
  const answer = ANSWERS[operation];
  if (!answer) return encoder.encode(FAILURE);
  const bytes = encoder.encode(okReply(JSON.stringify(answer(agent, startedAt))));
  if (operation !== "get-facts") shared.set(operation, bytes);
  return bytes;
}
