// SPDX-License-Identifier: Apache-2.0
/**
 * The programs of BIND (bind9-dnsutils, checked with 9.18.49): dig for questions and transfers, nsupdate for updates (RFC 2136). A key
 * goes to them in a file of mode 0600 that lives as long as the call (`-k`), never in an argument (`-y`), where every process of the
 * machine would see it. Plain questions go to digs that stay (`bind/digs.ts`). nsupdate gets all of a change in one message: 500 records take as long as one.
 */
import { mkdirSync, rmSync } from "node:fs";
import { DvError } from "@debvisor/shared/errors";
import { type ExecResult, exec, execError } from "@debvisor/shared/exec";
import { invalid } from "../model/names.ts";
import { Digs } from "./bind/digs.ts";
import { type TsigSecret, withFile, withKeyFile } from "./bind/key-file.ts";
import {
  type AnswerRecord,
  type Reply,
  readReplies,
  type TsigFault,
  updateFailure,
  validationFault,
} from "./bind-output.ts";

export type { TsigSecret };

/** A server as it is addressed. */
export interface Endpoint {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly key: TsigSecret | null;
  /** Reads the key anew, where it is one that is replaced from time to time. */
  readonly renew?: () => Promise<TsigSecret | null>;
}

/** What is asked of a server. */
export interface Question {
  /** Without the final dot. */
  readonly name: string;
  readonly type: string;
}

export interface BindOptions {
  /** Private folder for key files; emptied at the start. */
  readonly folder: string;
  /** Longest time for one answer in milliseconds. */
  readonly answerMs: number;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** A key of a zone that is trusted, as its DNSKEY record has it: `257 3 13 …`. */
export interface TrustAnchor {
  readonly zone: string;
  readonly dnskey: string;
}

export interface QueryOptions extends CallOptions {
  /** Asks for signatures as well. */
  readonly signatures?: boolean;
}

/** Longest time of an update in milliseconds. Shorter than the eight seconds after which another owner may adopt an operation. */
export const UPDATE_MS = 4_000;
const START_MS = 2_000;
const VALIDATE_MS = 10_000;
/** How long a dig stays without a question. */
const REST_MS = 10_000;

/** The programs, for one service. */
export interface Bind {
  /** Asks one server; one reply for each question, in order. @throws DNS_RECORD_INVALID, DNS_UNREACHABLE, TOOL_MISSING, TOOL_FAILED */
  query(server: Endpoint, questions: readonly Question[], options?: QueryOptions): Promise<readonly Reply[]>;
  /** Every record of a zone by a transfer. @throws DNS_REFUSED, DNS_UNREACHABLE, TOOL_MISSING, TOOL_FAILED, DNS_TSIG_* */
  transfer(server: Endpoint, zone: string, options?: CallOptions): Promise<readonly AnswerRecord[]>;
  /**
   * Sends an update in one message, signed. `lines` are prerequisites and updates as nsupdate reads them. False when a prerequisite
   * does not hold: nothing was changed then. @throws DNS_TSIG_*, DNS_NOT_AUTHORITATIVE, DNS_REFUSED, DNS_UNREACHABLE, TOOL_MISSING, TOOL_FAILED
   */
  update(server: Endpoint, zone: string, lines: readonly string[], options?: CallOptions): Promise<boolean>;
  /** Has delv follow the chain of a zone from a key of it; undefined when it holds, else what is wrong. @throws TOOL_MISSING */
  validate(server: Endpoint, anchor: TrustAnchor, options?: CallOptions): Promise<string | undefined>;
  /**
   * Signs a question by the clock given (milliseconds since 1970; default: the machine's) and says what is wrong with the key;
   * undefined when the server takes it. @throws DNS_UNREACHABLE, TOOL_MISSING, TOOL_FAILED
   */
  probe(
    server: Endpoint,
    zone: string,
    options?: CallOptions & { readonly nowMs?: number },
  ): Promise<TsigFault | undefined>;
}

/** Makes the driver. */
export function createBind({ folder, answerMs }: BindOptions): Bind {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const seconds = Math.max(1, Math.ceil(answerMs / 1_000));
  const patience = [`+time=${seconds}`, "+tries=2"];

  const dig = async (
    server: Endpoint,
    args: readonly string[],
    { signal, timeoutMs }: CallOptions & { readonly timeoutMs: number },
  ): Promise<string> => {
    const result = await withKeyFile(folder, server.key, (key) =>
      exec("dig", ["-r", ...key, `@${server.address}`, "-p", String(server.port), ...args], {
        timeoutMs,
        signal,
        secrets: server.key ? [server.key.secret] : [],
      }),
    );
    return printed(server, result);
  };
  const digs = new Digs({ folder, args: patience, restMs: REST_MS });

  return {
    query: async (server, questions, options = {}) => {
      if (questions.length === 0) return [];
      // One line is one question: a blank would be the end of a name, a line break the end of the question.
      const odd = questions.find(({ name, type }) => /[^!-~]/.test(name + type));
      if (odd) throw invalid(`${JSON.stringify(odd.name)} is no name that can be asked for`);
      const how = `@${server.address} -p ${server.port} +norecurse ${options.signatures ? "+dnssec" : "+noedns"}`;
      const asked = questions.map(({ name, type }) => `${how} -q ${name}. -t ${type}`);
      const timeoutMs = START_MS + 2 * seconds * 1_000 + questions.length * 20;
      const result = await digs.ask(server.key, asked, { signal: options.signal, timeoutMs });
      const replies = readReplies(printed(server, result));
      if (replies.length !== questions.length)
        throw new DvError(
          "DNS_UNREACHABLE",
          `${server.name} answered ${replies.length} of ${questions.length} questions.`,
        );
      return replies;
    },
    validate: (server, anchor, options) => validate(folder, server, anchor, options),
    transfer: async (server, zone, options = {}) => {
      const args = ["+noall", "+answer", ...patience, "-q", `${zone}.`, "-t", "AXFR"];
      const text = await dig(server, args, { ...options, timeoutMs: 15_000 });
      // dig prints a head for some of the messages of a transfer, for others none.
      const replies = readReplies(`;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 0\n${text}`);
      const records = replies.flatMap((reply) => reply.records);
      if (records.length === 0 || /^; Transfer failed/m.test(text))
        throw new DvError("DNS_REFUSED", `${server.name} does not hand over the zone ${zone}.`, {
          details: { server: server.name, zone },
        });
      return records;
    },
    update: (server, zone, lines, options) => update({ folder, seconds, server, zone, lines }, options),
    probe: async (server, zone, { nowMs, ...options } = {}) => {
      const signedAt = nowMs === undefined ? [] : [`+fuzztime=${Math.floor(nowMs / 1_000)}`];
      const asked = ["-q", `${zone}.`, "-t", "SOA"];
      const args = [...signedAt, "+norecurse", "+noedns", ...patience, ...asked];
      const text = await dig(server, args, { ...options, timeoutMs: START_MS + 2 * seconds * 1_000 });
      return readReplies(text)[0]?.tsig;
    },
  };
}

interface Update {
  readonly folder: string;
  /** Longest time for one answer. */
  readonly seconds: number;
  readonly server: Endpoint;
  readonly zone: string;
  readonly lines: readonly string[];
}

async function update(
  { folder, seconds, server, zone, lines }: Update,
  { signal }: CallOptions = {},
): Promise<boolean> {
  if (!server.key) throw new DvError("DNS_KEY_NOT_FOUND", `The primary ${server.name} has no key.`);
  const { secret } = server.key;
  const input = [`server ${server.address} ${server.port}`, `zone ${zone}.`, ...lines, "send", ""].join("\n");
  const result = await withKeyFile(folder, server.key, (key) =>
    exec("nsupdate", [...key, "-t", String(Math.ceil(UPDATE_MS / 1_000)), "-u", String(seconds), "-r", "1"], {
      timeoutMs: UPDATE_MS,
      signal,
      input,
      secrets: [secret],
    }),
  );
  return updateOutcome(server, zone, result, secret);
}

async function validate(
  folder: string,
  server: Endpoint,
  { zone, dnskey }: TrustAnchor,
  { signal }: CallOptions = {},
): Promise<string | undefined> {
  const [flags, protocol, algorithm, ...key] = dnskey.split(/\s+/);
  const anchor = `trust-anchors { "${zone}." static-key ${flags} ${protocol} ${algorithm} "${key.join("")}"; };\n`;
  const result = await withFile(folder, "conf", anchor, (file) => {
    const where = [`@${server.address}`, "-p", String(server.port)];
    return exec("delv", [...where, "-a", file, `+root=${zone}.`, "-q", `${zone}.`, "-t", "SOA"], {
      timeoutMs: VALIDATE_MS,
      signal,
    });
  });
  if (result.missing || result.aborted) throw execError(result);
  return validationFault(`${result.stdout}\n${result.stderr}`);
}

/** What dig printed. @throws DNS_UNREACHABLE, TOOL_MISSING, TOOL_FAILED */
function printed(server: Endpoint, result: ExecResult): string {
  // 9: no reply from the server. 10: an internal error, after which what was printed is not whole.
  const isUnanswered = result.failed && result.stdout.includes("no servers could be reached");
  if (result.exitCode === 9 || result.timedOut || isUnanswered) throw unreachable(server, result);
  if (result.failed) throw execError(result, server.key ? [server.key.secret] : []);
  return result.stdout;
}

function unreachable({ name, address, port }: Endpoint, { stdout, stderr }: ExecResult): DvError {
  const why = /(connection refused|timed out|network unreachable|host unreachable)/.exec(stdout + stderr)?.[1];
  return new DvError("DNS_UNREACHABLE", `${name} (${address} port ${port}) does not answer${why ? `: ${why}` : ""}.`, {
    details: { server: name, address, port },
  });
}

function updateOutcome(server: Endpoint, zone: string, result: ExecResult, secret: string): boolean {
  if (!result.failed) return true;
  if (result.missing || result.aborted) throw execError(result, [secret]);
  const { name } = server;
  const details = { server: name, zone };
  const failure = updateFailure(result.stderr);
  switch (failure) {
    case "prerequisite":
      return false;
    case "BADKEY":
      throw new DvError("DNS_TSIG_BADKEY", `${name} does not know the key ${server.key?.name}.`, { details });
    case "BADSIG":
      throw new DvError("DNS_TSIG_BADSIG", `${name} has another secret for the key ${server.key?.name}.`, { details });
    case "BADTIME":
      throw new DvError("DNS_TSIG_BADTIME", `The clock of ${name} is too far from this node's.`, { details });
    case "NOTAUTH":
      throw new DvError("DNS_NOT_AUTHORITATIVE", `${name} is no primary of ${zone}.`, { details });
    case "REFUSED":
      throw new DvError("DNS_REFUSED", `${name} refuses to change ${zone} by the key ${server.key?.name}.`, {
        details,
      });
    case "unreachable":
      throw unreachable(server, result);
    case undefined:
      if (result.timedOut) throw unreachable(server, result);
      throw execError(result, [secret]);
  }
}
