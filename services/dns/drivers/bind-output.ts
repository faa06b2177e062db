// SPDX-License-Identifier: Apache-2.0
/** Reads what dig and nsupdate 9.18 print. Plain text, since the YAML of dig repeats each question's header for 700 bytes. */

/** A record of a reply. Names without the final dot, lower case; data as dig spells it. */
export interface AnswerRecord {
  readonly name: string;
  readonly ttl: number;
  readonly type: string;
  readonly data: string;
}

/** What a server says against a signature (RFC 8945 §5.2). `skewSeconds`: how far its clock is ahead of the signer's. */
export interface TsigFault {
  readonly error: "BADKEY" | "BADSIG" | "BADTIME" | "BADTRUNC";
  readonly skewSeconds: number | null;
}

/** A reply to one question. */
export interface Reply {
  /** `NOERROR`, `NXDOMAIN`, `REFUSED`, … */
  readonly status: string;
  /** Whether the server says that it is authoritative. */
  readonly authoritative: boolean;
  readonly records: readonly AnswerRecord[];
  readonly tsig: TsigFault | undefined;
}

const HEADER = /^;; ->>HEADER<<- opcode: \w+, status: (\w+), id: \d+$/m;
const FLAGS = /^;; flags:([a-z ]*);/m;
const RECORD = /^([^;\s]\S*)\s+(\d+)\s+IN\s+(\S+)\s+(.+)$/;
/** Name, TTL, class, TSIG, algorithm, time signed, fudge, size of the MAC, the MAC if any, original id, error, length, other data. */
const TSIG =
  /^\S+\s+0\s+ANY\s+TSIG\s+\S+\s+(\d+)\s+\d+\s+\d+\s+(?:\S+\s+)?\d+\s+(BADKEY|BADSIG|BADTIME|BADTRUNC)\s+\d+(?:\s+(\S+))?/m;

/** The replies in what dig printed, in order. */
export function readReplies(text: string): readonly Reply[] {
  return text
    .split(/^(?=;; ->>HEADER<<-)/m)
    .filter((part) => HEADER.test(part))
    .map((part) => ({
      status: HEADER.exec(part)?.[1] ?? "",
      authoritative: / aa(?: |$)/.test(FLAGS.exec(part)?.[1] ?? ""),
      records: part.split("\n").flatMap(readRecord),
      tsig: readTsig(part),
    }));
}

function readRecord(line: string): AnswerRecord[] {
  const [, name = "", ttl, type = "", data = ""] = RECORD.exec(line) ?? [];
  if (ttl === undefined) return [];
  return [{ name: name.toLowerCase().replace(/\.$/, ""), ttl: Number(ttl), type, data: data.trim() }];
}

function readTsig(text: string): TsigFault | undefined {
  const [, signedAt, error, other] = TSIG.exec(text) ?? [];
  if (error === undefined) return undefined;
  const serverTime = error === "BADTIME" && other ? Buffer.from(other, "base64") : undefined;
  const skewSeconds = serverTime?.length === 6 ? serverTime.readUIntBE(0, 6) - Number(signedAt) : null;
  return { error: error as TsigFault["error"], skewSeconds };
}

/** What delv says against a chain of signatures; undefined when it holds. */
export function validationFault(output: string): string | undefined {
  if (/^; fully validated$/m.test(output)) return undefined;
  const [, reason] =
    /^;; (?:resolution failed: )?((?:validating|no valid RRSIG|broken trust chain|insecurity proof).*)$/m.exec(
      output,
    ) ?? [];
  return reason ?? output.trim().split("\n")[0] ?? "delv says nothing";
}

/** What kept nsupdate from changing a zone, by what it printed; undefined: something else. */
export function updateFailure(
  stderr: string,
): "prerequisite" | "BADKEY" | "BADSIG" | "BADTIME" | "NOTAUTH" | "REFUSED" | "unreachable" | undefined {
  const [, rcode, tsig] = /^update failed: (\w+)(?:\((\w+)\))?/m.exec(stderr) ?? [];
  if (tsig === "BADKEY" || tsig === "BADSIG" || tsig === "BADTIME") return tsig;
  if (rcode === "NXRRSET" || rcode === "YXRRSET" || rcode === "YXDOMAIN" || rcode === "NXDOMAIN") return "prerequisite";
  if (rcode === "NOTAUTH" || rcode === "NOTZONE") return "NOTAUTH";
  if (rcode === "REFUSED") return "REFUSED";
  if (rcode === "SERVFAIL" || /Communication with \S+ failed|timed out/.test(stderr)) return "unreachable";
  return undefined;
}
