// SPDX-License-Identifier: Apache-2.0
/** The durable operations that write and remove a file on nodes. Each node does its part under its own ledger. */
import { createHash } from "node:crypto";
import type { OperationOptions } from "@debvisor/proto-events/durable";
import { type FileState, type FileTarget, hostContract, MAX_FILE_BYTES } from "@debvisor/proto-events/host";
import { DvError } from "@debvisor/shared/errors";
import type { Definition, Draft, Reader, Sight, StepContext, StepKind } from "@debvisor/shared/operation/definition";
import { selectTargets } from "@debvisor/shared/operation/node-directory";
import { survey, targetOf } from "@debvisor/shared/operation/survey";

/** Input of putFile, without the engine's options. */
interface PutInput {
  readonly nodes: string;
  readonly to: string;
  readonly contentBase64: string;
  readonly fileMode?: string;
  readonly owner?: string;
  readonly group?: string;
}

/** Input of removeFile. */
interface RemoveInput {
  readonly nodes: string;
  readonly path: string;
}

/** The content itself stays in the operation's input: one copy, however many nodes. */
interface FileParams {
  readonly path: string;
}

const ASK_MS = 5_000;
const STEP_MS = 10_000;
const DEADLINE_MS = 30 * 60_000;
const UNDO = "dvctl operations rollback ID restores content, mode and owner on every node.";

/** `host.put-file`. */
export function putFileDefinition(): Definition<PutInput> {
  return {
    type: "host.put-file",
    spec: hostContract.operations.putFile,
    deadlineMs: DEADLINE_MS,
    mask: ({ contentBase64, ...rest }) => ({ ...rest, content: contentFacts(contentBase64) }),
    plan: (input, reader, options) => planFile(input.nodes, input.to, targetOfPut(input), reader, options),
    steps: { file: fileStep((input) => targetOfPut(input as unknown as PutInput)) },
  };
}

/** `host.remove-file`. */
export function removeFileDefinition(): Definition<RemoveInput> {
  return {
    type: "host.remove-file",
    spec: hostContract.operations.removeFile,
    deadlineMs: DEADLINE_MS,
    mask: (input) => ({ ...input }),
    plan: (input, reader, options) => planFile(input.nodes, input.path, null, reader, options),
    steps: { file: fileStep(() => null) },
  };
}

function targetOfPut({ contentBase64, fileMode, owner, group }: PutInput): FileTarget {
  if (Buffer.byteLength(contentBase64, "base64") > MAX_FILE_BYTES)
    throw new DvError("FILE_TOO_LARGE", `The content is larger than ${MAX_FILE_BYTES} bytes.`);
  return { contentBase64, mode: fileMode ?? null, owner: owner ?? null, group: group ?? null };
}

function contentFacts(base64: string): { sha256: string; sizeBytes: number } {
  const bytes = Buffer.from(base64, "base64");
  return { sha256: createHash("sha256").update(bytes).digest("hex"), sizeBytes: bytes.length };
}

async function planFile(
  selection: string,
  path: string,
  target: FileTarget,
  reader: Reader,
  { diff }: OperationOptions,
): Promise<Draft> {
  const nodes = selectTargets(selection, reader.nodes());
  const { findings, others, checks } = await survey(nodes, ({ id }) =>
    reader.request(id, hostContract, "getFile", { path, target, diff: diff === true }, { timeoutMs: ASK_MS }),
  );
  const changing = findings.filter(({ seen }) => seen.changed);
  return {
    targets: [
      ...findings.map(({ node, seen }) => targetOf(node, seen.changed ? "change" : "unchanged")),
      ...others,
    ].sort((a, b) => nodes.findIndex(({ id }) => id === a.id) - nodes.findIndex(({ id }) => id === b.id)),
    steps: changing.map(({ node }) => ({
      id: `file-${node.id}`,
      kind: "file",
      title: target === null ? `remove ${path}` : `write ${path}`,
      target: node.id,
      params: { path } satisfies FileParams,
      resource: resourceOf(node.id, path),
    })),
    effects: changing.map(({ node, seen }) => ({
      target: node.name,
      what: `file ${path}`,
      before: describeState(seen.state),
      after: describeTarget(target, seen.state),
      diff: seen.diff,
    })),
    checks,
    resources: changing.map(({ node }) => resourceOf(node.id, path)),
    undo: UNDO,
    basis: {
      path,
      target: target === null ? null : { ...target, contentBase64: contentFacts(target.contentBase64) },
      states: findings.map(({ node, seen }) => [node.id, seen.state]),
    },
  };
}

function resourceOf(node: string, path: string): string {
  return `node/${node}/file${path}`;
}

function describeState(state: FileState): string | null {
  if (state === null) return null;
  return `${state.sizeBytes} bytes, sha256 ${state.sha256.slice(0, 12)}, ${state.mode} ${state.owner}:${state.group}`;
}

function describeTarget(target: FileTarget, state: FileState): string | null {
  if (target === null) return null;
  const { sha256, sizeBytes } = contentFacts(target.contentBase64);
  const mode = (target.mode ?? state?.mode ?? "0644").padStart(4, "0");
  const owner = target.owner ?? state?.owner ?? "the agent's user";
  const group = target.group ?? state?.group ?? "its group";
  return `${sizeBytes} bytes, sha256 ${sha256.slice(0, 12)}, ${mode} ${owner}:${group}`;
}

function fileStep(targetOfInput: (input: Readonly<Record<string, unknown>>) => FileTarget): StepKind<FileParams> {
  const write = ({ path }: FileParams, context: StepContext) =>
    context.command(hostContract, "writeFile", { path, target: targetOfInput(context.submission.input) });
  return {
    timeoutMs: STEP_MS,
    // One order for both ways: the ledger of the node has what was there before.
    do: write,
    undo: write,
    inspect: async ({ path }, context) => {
      const target = targetOfInput(context.submission.input);
      const node = context.target?.id ?? "";
      const seen = await context.request(node, hostContract, "getFile", { path, target }, { timeoutMs: ASK_MS });
      return sightOf(seen, context.done);
    },
  };
}

/** Equal to the target is after; equal to what the node found before, or, if that is not known, anything else is before. */
function sightOf(seen: { readonly state: FileState; readonly changed: boolean }, done: unknown): Sight {
  const before = (done as { before?: FileState } | null)?.before;
  if (before !== undefined && sameState(before, seen.state)) return "before";
  if (!seen.changed) return "after";
  return before === undefined ? "before" : "unclear";
}

function sameState(a: FileState, b: FileState): boolean {
  if (a === null || b === null) return a === b;
  return a.sha256 === b.sha256 && a.mode === b.mode && a.owner === b.owner && a.group === b.group;
}
