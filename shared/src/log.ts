// SPDX-License-Identifier: Apache-2.0
/** Structured logs (pino). Secrets are masked by field name and by value, so that one slip does not print a key. */
import pino, { type Logger } from "pino";

export type { Logger } from "pino";

const SECRET_FIELDS = ["password", "secret", "token", "seed", "jwt", "authorization", "credential", "privateKey"];
const SECRET_VALUES = [
  /dv_[a-z0-9]{4,32}_[A-Za-z0-9_-]{20,}/g,
  /\bS[OAUNCX][A-Z2-7]{56}\b/g,
  /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----/g,
  /\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}/g,
];

/** Replaces API keys, nkey seeds, private keys and JWTs inside a text by `[masked]`. */
export function maskSecrets(text: string): string {
  return SECRET_VALUES.reduce((masked, pattern) => masked.replace(pattern, "[masked]"), text);
}

/** Options of `createLogger`. */
export interface LogOptions {
  readonly level: string;
  /** File descriptor or path; default standard output. */
  readonly destination?: string | number;
  readonly base?: Readonly<Record<string, unknown>>;
}

/** Makes the logger of a process: one JSON object per line, secrets masked. */
export function createLogger(options: LogOptions): Logger {
  const stream = pino.destination({ dest: options.destination ?? 1, sync: true });
  return pino(
    {
      level: options.level,
      base: { ...options.base },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]), censor: "[masked]" },
    },
    { write: (line: string) => void stream.write(maskSecrets(line)) },
  );
}

/** A logger that keeps quiet; for tools that report by other means. */
export function silentLogger(): Logger {
  return pino({ level: "silent" });
}
