// SPDX-License-Identifier: Apache-2.0
/** Keeps a node's log lines in its file and shows them to a person. */
import { createWriteStream, type WriteStream } from "node:fs";
import type { Readable } from "node:stream";

const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"];
const OWN_FIELDS = new Set(["level", "time", "msg", "service", "pid", "hostname"]);

/** Copies a node's output to its log file, and shows what is at least `level`. */
export function followLog(options: {
  output: Readable;
  file: string;
  node: string;
  level: string;
  show: (line: string) => void;
}): WriteStream {
  const file = createWriteStream(options.file, { flags: "a", mode: 0o640 });
  const least = LEVELS.indexOf(options.level);
  let rest = "";
  options.output.setEncoding("utf8");
  options.output.on("data", (chunk: string) => {
    file.write(chunk);
    const lines = (rest + chunk).split("\n");
    rest = (lines.pop() ?? "").slice(0, 64 * 1024);
    for (const line of lines) {
      const text = formatLine(line, options.node, least);
      if (text !== undefined) options.show(text);
    }
  });
  options.output.once("close", () => file.end());
  return file;
}

/** One JSON log line for people; undefined when it is below the level. What is no JSON is shown as it is. */
export function formatLine(line: string, node: string, least: number): string | undefined {
  if (line.trim() === "") return undefined;
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return `${node} ${line}`;
  }
  const level = String(entry["level"]);
  if (LEVELS.indexOf(level) < least) return undefined;
  const details = Object.entries(entry).filter(([key]) => !OWN_FIELDS.has(key));
  const tail = details
    .map(([key, value]) => ` ${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join("");
  const time = String(entry["time"]).slice(11, 23);
  return `${time} ${node} ${String(entry["service"] ?? "-")} ${level.toUpperCase()} ${String(entry["msg"])}${tail}`;
}
