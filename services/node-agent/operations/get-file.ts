// SPDX-License-Identifier: Apache-2.0
/** Says how a file of this host is, and what a change of it would make different. */
import type { FileTarget, hostContract } from "@debvisor/proto-events/host";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { HostFileWriter, WantedFile } from "../drivers/host-files-write.ts";
import { fileDiff, MAX_DIFF_INPUT } from "../model/file-diff.ts";
import { sameState } from "../model/file-step.ts";

type C = typeof hostContract;

/** A target as it came, with its content decoded. */
export function wantedFile(target: FileTarget): WantedFile | null {
  if (target === null) return null;
  const { contentBase64, ...attributes } = target;
  return { content: Buffer.from(contentBase64, "base64"), ...attributes };
}

/** Reads; changes nothing. */
export function getFileHandler({ files }: { readonly files: HostFileWriter }) {
  return async ({ path, target, diff }: Input<C, "getFile">): Promise<Output<C, "getFile">> => {
    const { state, content } = await files.read(path, diff ? MAX_DIFF_INPUT : 0);
    if (target === undefined) return { path, state, changed: false, diff: null };
    const wanted = wantedFile(target);
    const changed = !sameState(state, await files.predict(path, wanted));
    // A file that was not kept is too long to be compared.
    const comparable = diff && (state === null || content !== undefined);
    return { path, state, changed, diff: comparable ? fileDiff(path, content, wanted?.content) : null };
  };
}
