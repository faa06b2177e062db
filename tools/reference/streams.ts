// SPDX-License-Identifier: Apache-2.0
/** The page of streams and buckets. */
import { BUCKETS, STREAMS } from "@debvisor/proto-events/streams";
import { GENERATED, table } from "./markdown.ts";

/** The page as Markdown. */
export function streamsPage(): string {
  const mib = (bytes: number) => `${bytes / 1024 / 1024} MiB`;
  const age = (ms: number) => (ms === 0 ? "never" : `after ${ms / 3_600_000} h`);
  return `${[
    GENERATED,
    "# Streams and buckets",
    "All are kept in files, with one replica until there are three servers and three from then on.",
    "## Streams",
    table(
      ["Name", "For", "Subjects", "Goes", "Size", "When full"],
      Object.entries(STREAMS).map(([name, spec]) => [
        name,
        spec.summary,
        spec.subjects.join(" "),
        age(spec.maxAgeMs),
        mib(spec.maxBytes),
        `discards ${spec.discard}`,
      ]),
    ),
    "## Buckets",
    table(
      ["Name", "For", "History", "Size", "Keys go"],
      Object.entries(BUCKETS).map(([name, spec]) => [
        name,
        spec.summary,
        String(spec.history),
        mib(spec.maxBytes),
        spec.ttl ? "with their time to live" : age(spec.maxAgeMs),
      ]),
    ),
  ].join("\n\n")}\n`;
}
