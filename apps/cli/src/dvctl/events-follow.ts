// SPDX-License-Identifier: Apache-2.0
/** `dvctl events follow`: prints events as they happen, and goes on where it was after a broken connection. */
import { styleText } from "node:util";
import { EVENTS_PERMISSION } from "@debvisor/proto-events/gateway";
import { type ControlFrame, type EventFrame, eventQuery, type TelemetryFrame } from "@debvisor/proto-events/replies";
import { printable } from "@debvisor/shared/output";
import { z } from "zod";
import { type Call, type CommandSpec, EXIT } from "../command.ts";
import { followEvents, type StreamHandlers } from "../event-stream.ts";

const Input = z.strictObject({
  ...eventQuery,
  telemetry: z
    .boolean()
    .default(false)
    .describe("Also print live measurements; they are not stored and may be dropped."),
  count: z.coerce.number().int().min(1).optional().describe("End after this many events."),
  untilCaughtUp: z.boolean().default(false).describe("End once all stored events have been printed."),
});

export const eventsFollow: CommandSpec = {
  noun: "events",
  verb: "follow",
  summary: "Print events as they happen; goes on where it was after a broken connection.",
  input: Input,
  args: [],
  effect: "read",
  privilege: `A token with the role viewer or above (permission ${EVENTS_PERMISSION}).`,
  errors: ["BUS_UNAVAILABLE", "RATE_LIMITED"],
  help: {
    examples: [
      { command: "dvctl events follow", does: "Print everything from now on; Ctrl-C ends it." },
      {
        command: "dvctl events follow --filter 'discovery.node.*' --since 10m",
        does: "What happened to nodes in the last ten minutes, and from now on.",
      },
      { command: "dvctl events follow --tail 5 --until-caught-up", does: "The last five events, then end." },
    ],
    scenarios: [
      {
        command: "dvctl events follow --filter discovery.node.lost --count 1 && echo lost",
        does: "Wait for an event in a script.",
      },
      {
        command: "dvctl events follow --format json | jq .data",
        does: "One JSON object per line for another program.",
      },
      {
        command: "dvctl events follow --filter 'node-agent.>' --telemetry --node node-1",
        does: "Watch the heartbeat of one node.",
      },
    ],
  },
  run: async (call) => {
    const { filter, since, tail, node, telemetry } = Input.parse(call.input);
    if (since !== undefined && tail !== undefined) {
      call.output.error("--since and --tail exclude each other (INVALID_ARGUMENT)");
      return EXIT.usage;
    }
    await followEvents({
      context: call.context(),
      query: { filter, since, tail, node, telemetry },
      handlers: handlersFor(call),
      signal: call.signal,
    });
    return EXIT.ok;
  },
};

function handlersFor({ input, output }: Call): StreamHandlers {
  const { count, untilCaughtUp } = Input.parse(input);
  let printed = 0;
  const wantsMore = () => count === undefined || ++printed < count;
  const print = (line: () => string, frame: unknown, raw: string) => {
    if (output.format === "yaml") output.result([frame], () => "");
    else output.line(output.format === "json" ? raw : line());
    return wantsMore();
  };
  return {
    onEvent: (frame, raw) => print(() => eventLine(frame, output.color), frame, raw),
    onTelemetry: (frame, raw) => print(() => telemetryLine(frame, output.color), frame, raw),
    onControl: (frame) => {
      announce(frame, output);
      return !(untilCaughtUp && frame.control === "caught-up");
    },
    onReconnect: (reason, delayMs) =>
      output.warn(`${reason}; connecting again${delayMs > 0 ? ` in ${delayMs} ms` : ""}`),
  };
}

function announce(frame: ControlFrame, output: Call["output"]): void {
  switch (frame.control) {
    case "gap":
      output.warn(`events ${frame.from} to ${frame.to} are gone from the stream (${frame.reason})`);
      return;
    case "snapshot":
      output.info(`snapshot at ${frame.seq}: ${frame.nodes.length} nodes; dvctl nodes list shows them`);
      return;
    case "caught-up":
      output.debug(`caught up at ${frame.seq}`);
      return;
  }
}

/** `time seq source type subject data` on one line. */
export function eventLine(frame: EventFrame, color: boolean): string {
  const type = color ? styleText("bold", frame.type, { validateStream: false }) : frame.type;
  return `${frame.time} ${frame.seq} ${printable(frame.source)} ${type} ${printable(frame.subject)} ${printable(JSON.stringify(frame.data ?? null))}`;
}

function telemetryLine(frame: TelemetryFrame, color: boolean): string {
  const type = color ? styleText("dim", frame.telemetry, { validateStream: false }) : frame.telemetry;
  return `${frame.time} - ${printable(frame.source)} ${type} ${printable(JSON.stringify(frame.data ?? null))}`;
}
