// SPDX-License-Identifier: Apache-2.0
/** The AsyncAPI 3.0 document of the event stream, made from the contracts' events and telemetry. */
import { allEvents, CONTRACTS } from "@debvisor/proto-events/registry";
import { ControlFrame, EventFrame, TelemetryFrame } from "@debvisor/proto-events/replies";
import { z } from "zod";
import { EventQuery } from "./model/event-query.ts";
import { type Json, schemaOf } from "./openapi-parts.ts";

/** Makes the document. */
export function asyncapiDocument(version: string): Json {
  const messages: Record<string, Json> = {};
  for (const [type, { summary, version: dataVersion, payload }] of allEvents()) {
    const frame = EventFrame.extend({ type: z.literal(type), data: payload });
    messages[type] = {
      name: type,
      title: summary,
      summary: `${summary} Payload version ${dataVersion}.`,
      contentType: "application/json",
      payload: schemaOf(frame, "output"),
    };
  }
  for (const { service, telemetry } of CONTRACTS) {
    for (const [what, { summary, payload }] of Object.entries(telemetry ?? {})) {
      const type = `${service}.${what}`;
      const frame = TelemetryFrame.extend({ telemetry: z.literal(type), data: payload });
      messages[`telemetry.${type}`] = {
        name: type,
        title: summary,
        summary: `${summary} Only with telemetry=1; may be dropped.`,
        contentType: "application/json",
        payload: schemaOf(frame, "output"),
      };
    }
  }
  messages["control"] = {
    name: "control",
    title: "A frame that is no event: gap, snapshot or caught-up.",
    contentType: "application/json",
    payload: schemaOf(ControlFrame, "output"),
  };
  return {
    asyncapi: "3.0.0",
    info: {
      title: "DebVisor events",
      version,
      description: "Events of a DebVisor cluster over WebSocket or Server-Sent Events.",
      license: { name: "Apache-2.0" },
    },
    defaultContentType: "application/json",
    channels: {
      events: {
        address: "/v1/events",
        messages: Object.fromEntries(
          Object.keys(messages).map((name) => [name, { $ref: `#/components/messages/${name}` }]),
        ),
        bindings: { ws: { method: "GET", query: schemaOf(EventQuery, "input"), bindingVersion: "0.1.0" } },
      },
    },
    operations: {
      receiveEvents: {
        action: "send",
        channel: { $ref: "#/channels/events" },
        summary: "The gateway sends every event that matches the query.",
      },
    },
    components: {
      messages,
      securitySchemes: { key: { type: "http", scheme: "bearer", bearerFormat: "dv_<id>_<secret>" } },
    },
  };
}

/** The document with the server that it was fetched from. */
export function withServer(document: Json, host: string, tls: boolean): Json {
  const gateway = { host, protocol: tls ? "wss" : "ws", security: [{ $ref: "#/components/securitySchemes/key" }] };
  return { ...document, servers: { gateway } };
}
