// SPDX-License-Identifier: Apache-2.0
/** Subjects: what is built can be taken apart again, and nothing that a caller supplies can widen one. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  auditSubject,
  CORE,
  eventSubject,
  inboxPrefix,
  isToken,
  matchesPattern,
  parseEventSubject,
  parsePattern,
  parseRpcSubject,
  parseTelemetrySubject,
  rpcSubject,
  SUBJECT_FILTERS,
  telemetrySubject,
} from "./subjects.ts";

const token = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?$/);
const type = fc.tuple(token, token, token).map((parts) => parts.join("."));
/** Texts that are no tokens: wildcards, dots, blanks, capitals, dashes at the ends, too long, and anything random. */
const noToken = fc.oneof(
  fc.constantFrom("", "*", ">", "a.b", " ", "a b", "A", "-a", "a-", "a".repeat(64), "ä", "a\n", "{{name()}}"),
  fc.string().filter((text) => !/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text)),
);

describe("tokens", () => {
  test("are lower-case letters and digits with inner dashes, 1 to 63 characters", () => {
    fc.assert(fc.property(token, (text) => void expect(isToken(text)).toBe(true)));
    expect(isToken("a".repeat(63))).toBe(true);
  });

  test("are nothing else", () => {
    fc.assert(fc.property(noToken, (text) => void expect(isToken(text)).toBe(false)));
  });
});

describe("a built subject", () => {
  test("of a request parses back to its parts", () => {
    fc.assert(
      fc.property(token, token, token, (target, service, operation) => {
        expect(parseRpcSubject(rpcSubject(target, service, operation))).toEqual({ target, service, operation });
      }),
    );
  });

  test("of an event parses back to its parts", () => {
    fc.assert(
      fc.property(token, type, (origin, name) => {
        const [service] = name.split(".");
        expect(parseEventSubject(eventSubject(origin, name))).toEqual({ origin, service, type: name });
      }),
    );
  });

  test("of telemetry parses back to its parts", () => {
    fc.assert(
      fc.property(token, token, token, (origin, service, what) => {
        expect(parseTelemetrySubject(telemetrySubject(origin, service, what))).toEqual({ origin, service, what });
      }),
    );
  });

  test("lies within the filter of its own kind and party, and of no other", () => {
    fc.assert(
      fc.property(token, token, token, token, (party, other, service, name) => {
        fc.pre(party !== other);
        const subject = rpcSubject(party, service, name);
        const event = eventSubject(party, `${service}.${name}.${name}`);

        expect(matches(SUBJECT_FILTERS.rpcOf(party), subject)).toBe(true);
        expect(matches(SUBJECT_FILTERS.rpcOfService(party, service), subject)).toBe(true);
        expect(matches(SUBJECT_FILTERS.allRpc, subject)).toBe(true);
        expect(matches(SUBJECT_FILTERS.rpcOf(other), subject)).toBe(false);
        expect(matches(SUBJECT_FILTERS.allEvents, subject)).toBe(false);
        expect(matches(SUBJECT_FILTERS.eventsOf(party), event)).toBe(true);
        expect(matches(SUBJECT_FILTERS.eventsOfService(party, service), event)).toBe(true);
        expect(matches(SUBJECT_FILTERS.eventsOf(other), event)).toBe(false);
        expect(matches(SUBJECT_FILTERS.telemetryOf(party), telemetrySubject(party, service, name))).toBe(true);
        expect(matches(SUBJECT_FILTERS.telemetryOfAll(service, name), telemetrySubject(party, service, name))).toBe(
          true,
        );
        expect(matches(SUBJECT_FILTERS.allAudit, auditSubject(party))).toBe(true);
      }),
    );
  });

  test("has the spelling that is on the wire", () => {
    expect(rpcSubject(CORE, "discovery", "list-nodes")).toBe("dv.rpc.core.discovery.list-nodes");
    expect(eventSubject("abcdefghij234567", "node-agent.agent.started")).toBe(
      "dv.evt.abcdefghij234567.node-agent.agent.started",
    );
    expect(telemetrySubject("abcdefghij234567", "node-agent", "heartbeat")).toBe(
      "dv.tel.abcdefghij234567.node-agent.heartbeat",
    );
    expect(auditSubject(CORE)).toBe("dv.audit.core");
    expect(inboxPrefix("abcdefghij234567")).toBe("_INBOX_abcdefghij234567");
  });
});

describe("the builders refuse what could widen a subscription", () => {
  const builders: readonly [name: string, build: (text: string) => unknown][] = [
    ["rpcSubject, target", (text) => rpcSubject(text, "a", "a")],
    ["rpcSubject, service", (text) => rpcSubject("a", text, "a")],
    ["rpcSubject, operation", (text) => rpcSubject("a", "a", text)],
    ["eventSubject, origin", (text) => eventSubject(text, "a.b.c")],
    ["eventSubject, fact", (text) => eventSubject("a", `a.b.${text}`)],
    ["telemetrySubject, origin", (text) => telemetrySubject(text, "a", "a")],
    ["telemetrySubject, what", (text) => telemetrySubject("a", "a", text)],
    ["auditSubject", auditSubject],
    ["inboxPrefix", inboxPrefix],
    ["rpcOf", SUBJECT_FILTERS.rpcOf],
    ["rpcOfService", (text) => SUBJECT_FILTERS.rpcOfService("a", text)],
    ["eventsOf", SUBJECT_FILTERS.eventsOf],
    ["eventsOfService", (text) => SUBJECT_FILTERS.eventsOfService("a", text)],
    ["telemetryOf", SUBJECT_FILTERS.telemetryOf],
    ["telemetryOfAll", (text) => SUBJECT_FILTERS.telemetryOfAll("a", text)],
  ];

  test.each(builders)("in %s", (_name, build) => {
    fc.assert(fc.property(noToken, (text) => void expect(() => build(text)).toThrow(TypeError)));
  });

  test.each(["a", "a.b", "a.b.c.d", "a..c"])("in an event type that is not three tokens: %s", (text) => {
    expect(() => eventSubject("a", text)).toThrow(TypeError);
  });
});

describe("the parsers", () => {
  test.each([
    [parseRpcSubject, ["dv.evt.a.b.c", "xx.rpc.a.b.c", "dv.rpc", "dv.rpc.a", "dv.rpc.a.b", "dv.rpc.a.b.c.d", ""]],
    [
      parseEventSubject,
      ["dv.rpc.a.b.c.d", "xx.evt.a.b.c.d", "dv.evt", "dv.evt.a", "dv.evt.a.b", "dv.evt.a.b.c", "dv.evt.a.b.c.d.e"],
    ],
    [parseTelemetrySubject, ["dv.evt.a.b.c", "xx.tel.a.b.c", "dv.tel", "dv.tel.a", "dv.tel.a.b", "dv.tel.a.b.c.d"]],
  ] as const)("refuse other subjects", (parse, subjects) => {
    for (const subject of subjects) expect(() => parse(subject)).toThrow(TypeError);
  });

  test("throw nothing but TypeError, whatever the text", () => {
    const quiet = (parse: (subject: string) => unknown, text: string) => {
      try {
        parse(text);
      } catch (error) {
        expect(error).toBeInstanceOf(TypeError);
      }
    };
    fc.assert(
      fc.property(fc.string(), (text) => {
        for (const parse of [parseRpcSubject, parseEventSubject, parseTelemetrySubject, parsePattern])
          quiet(parse, text);
      }),
    );
  });
});

describe("a wildcard pattern", () => {
  test.each([
    ["discovery.node.lost", "discovery.node.lost", true],
    ["discovery.node.*", "discovery.node.lost", true],
    ["discovery.*.lost", "discovery.node.lost", true],
    ["*.*.*", "discovery.node.lost", true],
    ["discovery.>", "discovery.node.lost", true],
    [">", "discovery.node.lost", true],
    ["discovery.node", "discovery.node.lost", false],
    ["discovery.*", "discovery.node.lost", false],
    ["discovery.node.lost.>", "discovery.node.lost", false],
    ["discovery.node.lost.*", "discovery.node.lost", false],
    ["gateway.>", "discovery.node.lost", false],
  ])("%s against %s: %s", (pattern, text, expected) => {
    expect(matchesPattern(pattern, text)).toBe(expected);
  });

  test("matches the type that it spells out, and any type with a star in one place", () => {
    fc.assert(
      fc.property(type, fc.nat(2), (text, at) => {
        const starred = text.split(".").map((part, i) => (i === at ? "*" : part));
        expect(matchesPattern(text, text)).toBe(true);
        expect(matchesPattern(starred.join("."), text)).toBe(true);
      }),
    );
  });

  test.each(["", "a..b", "a.>.b", "**", "a*", "A.b", "a b"])("is refused when malformed: %j", (pattern) => {
    expect(() => parsePattern(pattern)).toThrow(TypeError);
    expect(() => matchesPattern(pattern, "a.b.c")).toThrow(TypeError);
  });
});

/** Subject filters have upper-case and `$` nowhere, so the matcher for types serves for them as well. */
function matches(filter: string, subject: string): boolean {
  return matchesPattern(filter, subject);
}
