// SPDX-License-Identifier: Apache-2.0
/**
 * The only place where subjects of the bus are spelled. Kind first, then the party whose credential the server checks
 * (DESIGN.md 5). Only ids become tokens: a name that a user chose could hold `*`, `>` or a dot, and widen a subscription.
 */

const TOKEN = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Target of requests that any instance of a core part may answer, and origin of events that core parts publish. */
export const CORE = "core";

/** True for a token that may stand in a subject: `[a-z0-9]` with inner dashes, 1 to 63 characters. */
export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

function token(text: string): string {
  if (!isToken(text)) throw new TypeError(`illegal subject token: ${JSON.stringify(text)}`);
  return text;
}

function typeTokens(type: string): string {
  const parts = type.split(".");
  if (parts.length !== 3) throw new TypeError(`an event type has three tokens: ${JSON.stringify(type)}`);
  return parts.map(token).join(".");
}

/** Subject of a request: `dv.rpc.<target>.<service>.<operation>`, where target is a node id or `core`. @throws TypeError */
export function rpcSubject(target: string, service: string, operation: string): string {
  return `dv.rpc.${token(target)}.${token(service)}.${token(operation)}`;
}

/** Subject of an event: `dv.evt.<origin>.<service>.<entity>.<fact>`; `type` is the last three tokens. @throws TypeError */
export function eventSubject(origin: string, type: string): string {
  return `dv.evt.${token(origin)}.${typeTokens(type)}`;
}

/** Subject of live telemetry: `dv.tel.<origin>.<service>.<what>`. @throws TypeError */
export function telemetrySubject(origin: string, service: string, what: string): string {
  return `dv.tel.${token(origin)}.${token(service)}.${token(what)}`;
}

/** Subject on which a party records audit entries: `dv.audit.<origin>`. @throws TypeError */
export function auditSubject(origin: string): string {
  return `dv.audit.${token(origin)}`;
}

/** Subject of an operation's log: `dv.op.<operation id>`. @throws TypeError */
export function operationSubject(operation: string): string {
  return `dv.op.${token(operation)}`;
}

/** Subject of the checkpoints that one sealer of the audit trail signs: `dv.seal.<origin>`. @throws TypeError */
export function sealSubject(origin: string): string {
  return `dv.seal.${token(origin)}`;
}

/** Wildcards for permissions, account imports and streams. A filter never reaches a subject of another kind. */
export const SUBJECT_FILTERS = {
  allRpc: "dv.rpc.>",
  allEvents: "dv.evt.>",
  allTelemetry: "dv.tel.>",
  allAudit: "dv.audit.*",
  allOperations: "dv.op.*",
  allSeals: "dv.seal.*",
  rpcOfServiceEverywhere: (service: string) => `dv.rpc.*.${token(service)}.>`,
  rpcOf: (target: string) => `dv.rpc.${token(target)}.>`,
  rpcOfService: (target: string, service: string) => `dv.rpc.${token(target)}.${token(service)}.>`,
  eventsOf: (origin: string) => `dv.evt.${token(origin)}.>`,
  eventsOfService: (origin: string, service: string) => `dv.evt.${token(origin)}.${token(service)}.>`,
  telemetryOf: (origin: string) => `dv.tel.${token(origin)}.>`,
  telemetryOfAll: (service: string, what: string) => `dv.tel.*.${token(service)}.${token(what)}`,
  /** The template forms that a scoped signing key expands with the user's name (nats-server `{{name()}}`). */
  template: {
    rpc: "dv.rpc.{{name()}}.>",
    events: "dv.evt.{{name()}}.>",
    telemetry: "dv.tel.{{name()}}.>",
    audit: "dv.audit.{{name()}}",
    inbox: "_INBOX_{{name()}}.>",
  },
} as const;

/** Prefix of the reply subjects of one user. Each user has its own, so that none can listen to another's answers. */
export function inboxPrefix(user: string): string {
  return `_INBOX_${token(user)}`;
}

/** The parts of a request subject. @throws TypeError for anything else */
export function parseRpcSubject(subject: string): { target: string; service: string; operation: string } {
  const [root, kind, target, service, operation, ...rest] = subject.split(".");
  if (root !== "dv" || kind !== "rpc" || !target || !service || !operation || rest.length > 0) {
    throw new TypeError(`not a request subject: ${JSON.stringify(subject)}`);
  }
  return { target, service, operation };
}

/** The parts of an event subject. @throws TypeError for anything else */
export function parseEventSubject(subject: string): { origin: string; service: string; type: string } {
  const [root, kind, origin, service, entity, fact, ...rest] = subject.split(".");
  if (root !== "dv" || kind !== "evt" || !origin || !service || !entity || !fact || rest.length > 0) {
    throw new TypeError(`not an event subject: ${JSON.stringify(subject)}`);
  }
  return { origin, service, type: `${service}.${entity}.${fact}` };
}

/** The parts of a telemetry subject. @throws TypeError for anything else */
export function parseTelemetrySubject(subject: string): { origin: string; service: string; what: string } {
  const [root, kind, origin, service, what, ...rest] = subject.split(".");
  if (root !== "dv" || kind !== "tel" || !origin || !service || !what || rest.length > 0) {
    throw new TypeError(`not a telemetry subject: ${JSON.stringify(subject)}`);
  }
  return { origin, service, what };
}

/**
 * True when `type` (dot-separated) matches a NATS wildcard pattern: `*` one token, `>` one or more at the end.
 * @throws TypeError when the pattern itself is malformed
 */
export function matchesPattern(pattern: string, type: string): boolean {
  const wanted = parsePattern(pattern);
  const have = type.split(".");
  for (let i = 0; i < wanted.length; i++) {
    if (wanted[i] === ">") return have.length > i;
    if (have[i] === undefined || (wanted[i] !== "*" && wanted[i] !== have[i])) return false;
  }
  return have.length === wanted.length;
}

/** Checks a wildcard pattern and returns its tokens. @throws TypeError */
export function parsePattern(pattern: string): readonly string[] {
  const tokens = pattern.split(".");
  for (const [i, part] of tokens.entries()) {
    const legal = part === "*" || (part === ">" && i === tokens.length - 1) || isToken(part);
    if (!legal) throw new TypeError(`illegal pattern: ${JSON.stringify(pattern)}`);
  }
  return tokens;
}
