// SPDX-License-Identifier: Apache-2.0
/** A page per service: its operations with routes and fields, its events, its telemetry; and one for durable operations. */
import { fanOutOptions, Operation, operationOptions } from "@debvisor/proto-events/durable";
import { type Contract, type DurableSpec, type OperationSpec, roleOf, wireName } from "@debvisor/proto-events/kit";
import { CONTRACTS } from "@debvisor/proto-events/registry";
import { CORE, rpcSubject } from "@debvisor/proto-events/subjects";
import { z } from "zod";
import { GENERATED, table } from "./markdown.ts";

interface Field {
  readonly name: string;
  readonly type: string;
  readonly required: boolean;
  readonly text: string;
}

interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly description?: string;
}

/** Page name → Markdown, for every contract. */
export function contractPages(): [string, string][] {
  return CONTRACTS.map((contract) => [`service-${contract.service}.md`, page(contract)]);
}

function page(contract: Contract): string {
  const operations = Object.entries(contract.operations);
  const parts = [GENERATED, `# ${contract.service}`, contract.summary];
  if (operations.length > 0)
    parts.push("## Operations", ...operations.map(([name, spec]) => operationSection(contract.service, name, spec)));
  const events = Object.entries(contract.events);
  if (events.length > 0) {
    parts.push(
      "## Events",
      table(
        ["Type", "Version", "When", "Data"],
        events.map(([key, { version, summary, payload }]) => [
          `\`${contract.service}.${key}\``,
          String(version),
          summary,
          fieldList(payload),
        ]),
      ),
    );
  }
  const telemetry = Object.entries(contract.telemetry ?? {});
  if (telemetry.length > 0) {
    parts.push(
      "## Telemetry",
      table(
        ["What", "When", "Data"],
        telemetry.map(([key, { summary, payload }]) => [`\`${contract.service}.${key}\``, summary, fieldList(payload)]),
      ),
    );
  }
  return `${parts.join("\n\n")}\n`;
}

function operationSection(service: string, name: string, spec: OperationSpec): string {
  const subject = rpcSubject(spec.scope === "core" ? CORE : "node", service, wireName(name)).replace(
    ".node.",
    ".<node>.",
  );
  const facts = [
    [
      "Route",
      spec.http ? `\`${spec.http.method} ${spec.http.path}${spec.scope === "node" ? "?nodes=" : ""}\`` : "none",
    ],
    ["Subject", `\`${subject}\``],
    ["Permission", `\`${spec.permission}\`, role ${roleOf(spec)}`],
    ["Effect", `${spec.effect}${spec.idempotent ? ", idempotent" : ""}`],
    ["Time limit", `${spec.timeoutMs} ms`],
    ...(spec.durable ? [["Durable", durableText(spec.durable)]] : []),
    ["Errors", spec.errors.length > 0 ? spec.errors.map((code) => `\`${code}\``).join(" ") : "the general ones"],
  ];
  const inputs = fields(toSchema(spec.input, "input")).filter(({ name }) => !spec.durable || !isOption(name));
  return [
    `### ${name}`,
    spec.summary,
    table(["", ""], facts),
    ...(inputs.length > 0 ? ["Input:", fieldTable(inputs)] : ["Input: none."]),
    ...(spec.durable
      ? ["Besides the [options](durable.md) of durable operations. Output: an [operation](durable.md#operation)."]
      : ["Output:", fieldTable(fields(toSchema(spec.output, "output")))]),
  ].join("\n\n");
}

/** The page of what every durable operation takes and answers. */
export function durablePage(): string {
  const tableOf = (schema: z.ZodType, io: "input" | "output") => fieldTable(fields(toSchema(schema, io)));
  return `${[
    GENERATED,
    "# Durable operations",
    "Everything that changes something beyond the cluster's own records: checked, planned, applied, verified, and undone on request. `mode` says how far a request goes; mode apply answers 202 with a Location, the other two answer 200.",
    "## Options",
    tableOf(z.object(operationOptions), "input"),
    "## Options of those that touch many nodes",
    tableOf(z.object(fanOutOptions), "input"),
    "## Operation",
    tableOf(Operation, "output"),
  ].join("\n\n")}\n`;
}

function isOption(name: string): boolean {
  return Object.hasOwn(operationOptions, name) || Object.hasOwn(fanOutOptions, name);
}

function durableText({ version, mostPerDomain, asks }: DurableSpec): string {
  return [
    `version ${version} of its definition`,
    ...(mostPerDomain === undefined
      ? []
      : [`touches at most ${mostPerDomain} of each failure domain without an override`]),
    ...(asks ? ["commands ask on a terminal"] : []),
  ].join("; ");
}

function fieldTable(list: readonly Field[]): string {
  return table(
    ["Field", "Type", "", "Meaning"],
    list.map(({ name, type, required, text }) => [`\`${name}\``, type, required ? "required" : "optional", text]),
  );
}

function fieldList(schema: z.ZodType): string {
  return fields(toSchema(schema, "output"))
    .map(({ name }) => `\`${name}\``)
    .join(" ");
}

function toSchema(schema: z.ZodType, io: "input" | "output"): JsonSchema {
  return z.toJSONSchema(schema, { io, unrepresentable: "any", reused: "inline" }) as JsonSchema;
}

function fields(schema: JsonSchema): Field[] {
  return Object.entries(schema.properties ?? {}).map(([name, property]) => ({
    name,
    type: typeOf(property),
    required: schema.required?.includes(name) ?? false,
    text: [
      property.description ?? "",
      property.default === undefined ? "" : `Default ${JSON.stringify(property.default)}.`,
    ]
      .filter(Boolean)
      .join(" "),
  }));
}

function typeOf(schema: JsonSchema): string {
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  if (schema.anyOf) return [...new Set(schema.anyOf.map(typeOf))].join(" or ");
  if (schema.type === "array") return `list of ${schema.items ? typeOf(schema.items) : "anything"}`;
  if (schema.type === "object" && schema.properties) return `object (${Object.keys(schema.properties).join(", ")})`;
  return [schema.type ?? "any"].flat().join(" or ");
}
