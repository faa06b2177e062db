// SPDX-License-Identifier: Apache-2.0
/** What somebody with a credential of the bus can try beyond the project's own client, and how the server takes it. */
import { connect } from "node:tls";
import { errors, type NatsConnection } from "@nats-io/nats-core";

/** Publishes to each subject and returns those that the server refused. */
export async function deniedPublishes(connection: NatsConnection, subjects: readonly string[]): Promise<string[]> {
  const refused = new Set<string>();
  const status = connection.status() as ReturnType<NatsConnection["status"]> & { stop(): void };
  const watching = (async () => {
    for await (const event of status) {
      const error = event.type === "error" ? event.error : undefined;
      if (error instanceof errors.PermissionViolationError && error.operation === "publish") refused.add(error.subject);
    }
  })();
  // No JSON, so that what gets through to an API of the server is refused there instead of doing something.
  for (const subject of subjects) connection.publish(subject, "no json");
  await connection.flush();
  status.stop();
  await watching;
  return subjects.filter((subject) => refused.has(subject));
}

/** Subscribes to each subject and returns those that the server refused. */
export async function deniedSubscriptions(connection: NatsConnection, subjects: readonly string[]): Promise<string[]> {
  const refused = new Set<string>();
  const subscriptions = subjects.map((subject) =>
    connection.subscribe(subject, { callback: (error) => void (error && refused.add(subject)) }),
  );
  await connection.flush();
  for (const subscription of subscriptions) if (!subscription.isClosed()) subscription.unsubscribe();
  return subjects.filter((subject) => refused.has(subject));
}

/** Everything that arrives on a subject, as `<subject> <text>`. */
export function listen(connection: NatsConnection, subject: string): string[] {
  const heard: string[] = [];
  connection.subscribe(subject, {
    callback: (error, message) =>
      void heard.push(error ? `refused: ${error.message}` : `${message.subject} ${message.string()}`),
  });
  return heard;
}

/**
 * Resolves when everything that the servers did because of what `connection` sent before has arrived at `others`: a round
 * trip of the sender, the delivery through JetStream (`settle`), a round trip of each listener.
 */
export async function allDelivered(
  connection: NatsConnection,
  settle: () => Promise<unknown>,
  others: readonly NatsConnection[],
): Promise<void> {
  await connection.flush();
  await settle();
  await Promise.all(others.map((other) => other.flush()));
  await new Promise(setImmediate);
}

const INFO = { server_id: "NSTRANGER", server_name: "stranger", cluster: "test", headers: true, proto: 1 };

interface RouteSecret {
  readonly user: string;
  readonly pass: string;
}
interface Identity {
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
}

/** Greets the port between servers as another server does; what came until the server hung up or answered the ping. */
export async function greetRouteByTls(route: string, secret: RouteSecret, identity: Identity): Promise<string> {
  const held = await holdRoute(route, secret, identity);
  if (/PONG/.test(held.heard())) held.end();
  return await held.ended;
}

/** The same, staying on as a server that was let in. `ended` resolves with everything that came until the server hung up. */
export function holdRoute(
  route: string,
  secret: RouteSecret,
  identity: Identity,
): Promise<{ heard(): string; end(): void; ended: Promise<string> }> {
  const [host, port] = route.split(":");
  const hello = { verbose: false, pedantic: false, tls_required: true, name: "stranger", cluster: "test", ...secret };
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false, ...identity }, () => {
      // A server counts as a route once it has told of itself; only then does a new password touch it.
      socket.write(`CONNECT ${JSON.stringify(hello)}\r\nINFO ${JSON.stringify(INFO)}\r\nPING\r\n`);
    });
    const ended = new Promise<string>((end) => socket.once("close", () => end(text)));
    socket.setEncoding("utf8");
    socket.on("data", (chunk) => {
      text += String(chunk);
      if (/^PING\r$/m.test(String(chunk))) socket.write("PONG\r\n");
      if (/PONG|-ERR/.test(text)) resolve({ heard: () => text, end: () => socket.end(), ended });
    });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error(`the server hung up: ${text}`)));
    socket.setTimeout(10_000, () => socket.destroy(new Error(`the server keeps the connection: ${text}`)));
  });
}
