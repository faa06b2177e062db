// SPDX-License-Identifier: Apache-2.0
/** Everything configurable about the gateway. A listener that others can reach has TLS, or the gateway does not start. */
import { z } from "zod";

const MIB = 1024 * 1024;
const LOOPBACK = /^(127(\.\d{1,3}){3}|::1|localhost)$/;

const perMinute = (limit: number) => z.coerce.number().int().min(0).default(limit);

const BootstrapToken = z.object({
  id: z.string().regex(/^[a-z0-9]{4,32}$/),
  name: z.string().min(1).max(100),
  role: z.enum(["viewer", "operator", "admin"]),
  hash: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .describe("SHA-256 of the secret part of the key, hexadecimal."),
});

export const gatewayConfig = z
  .object({
    host: z.string().default("127.0.0.1").describe("Address to listen on."),
    port: z.coerce.number().int().min(0).max(65535).default(8420).describe("Port; 0 takes a free one."),
    tls: z
      .object({ cert: z.string().describe("PEM file."), key: z.string().describe("PEM file.") })
      .nullable()
      .default(null)
      .describe("Certificate and key; required unless host is a loopback address."),
    allowedOrigins: z
      .array(z.string())
      .default([])
      .describe("Origins of web pages that may open the event stream, such as https://panel.example."),
    bootstrapTokens: z
      .array(BootstrapToken)
      .default([])
      .describe("Keys that are entered at the start unless they exist."),
    limits: z
      .object({
        bodyBytes: z.coerce.number().int().positive().default(MIB).describe("Largest request body."),
        urlBytes: z.coerce.number().int().positive().default(2048).describe("Longest URL."),
        headerBytes: z.coerce.number().int().positive().default(16_384).describe("Largest set of request headers."),
        jsonDepth: z.coerce.number().int().positive().default(32).describe("Deepest nesting of a JSON body."),
        requestTimeoutMs: z.coerce
          .number()
          .int()
          .positive()
          .default(30_000)
          .describe("Longest time in which a request must have arrived."),
        connections: z.coerce.number().int().min(0).default(10_000).describe("Open connections; 0 means no limit."),
        requestsPerConnection: z.coerce
          .number()
          .int()
          .min(0)
          .default(0)
          .describe("Requests after which a connection is closed; 0 means no limit."),
      })
      .prefault({}),
    rates: z
      .object({
        read: perMinute(60_000).describe("Reads per caller and minute; 0 means no limit."),
        change: perMinute(120).describe("Changes per caller and minute."),
        lifecycle: perMinute(20).describe("Creating, deleting and moving, per caller and minute."),
        failure: perMinute(600).describe("Requests without a valid credential, per address and minute."),
      })
      .prefault({}),
    events: z
      .object({
        bufferEntries: z.coerce
          .number()
          .int()
          .min(16)
          .default(4096)
          .describe("Latest events kept in memory for subscribers that come back."),
        bufferBytes: z.coerce
          .number()
          .int()
          .min(65_536)
          .default(8 * MIB)
          .describe("Most memory for them."),
        queueBytes: z.coerce
          .number()
          .int()
          .min(4096)
          .default(MIB)
          .describe("Unsent bytes after which a slow subscriber is cut."),
        perPrincipal: z.coerce
          .number()
          .int()
          .min(0)
          .default(8)
          .describe("Open event streams per caller; 0 means no limit."),
        pingMs: z.coerce
          .number()
          .int()
          .min(50)
          .default(20_000)
          .describe("Pause between pings; two without an answer end the stream."),
        reauthoriseMs: z.coerce
          .number()
          .int()
          .min(50)
          .default(60_000)
          .describe("Pause between checks that the key still holds."),
        messageBytes: z.coerce.number().int().positive().default(65_536).describe("Largest message from a subscriber."),
        messagesPerMinute: perMinute(120).describe("Messages from one subscriber per minute."),
      })
      .prefault({}),
  })
  .refine(({ host, tls }) => tls !== null || LOOPBACK.test(host), {
    path: ["tls"],
    message: "an address other than loopback needs tls.cert and tls.key",
  });

/** The gateway's configuration, checked. */
export type GatewayConfig = z.output<typeof gatewayConfig>;
