// SPDX-License-Identifier: Apache-2.0
/** Disks by lsblk(8), checked with util-linux 2.38.1. Its JSON had strings for sizes and "0"/"1" for flags before 2.33. */
import { exec } from "@debvisor/shared/exec";
import { z } from "zod";

const TIMEOUT_MS = 3_000;
const flag = z.union([z.boolean(), z.enum(["0", "1"]).transform((text) => text === "1")]).nullish();
const text = z
  .string()
  .transform((value) => (value.trim() === "" ? null : value.trim()))
  .nullish();
const Report = z.object({
  blockdevices: z.array(
    z.object({
      name: z.string().min(1),
      size: z.coerce.number().int().nonnegative().nullish(),
      model: text,
      serial: text,
      rota: flag,
      type: z.string().min(1),
    }),
  ),
});

/** A disk as lsblk reports it. */
export interface BlockDevice {
  readonly name: string;
  readonly sizeBytes: number;
  readonly model: string | null;
  readonly serial: string | null;
  readonly rotational: boolean | null;
  readonly type: string;
}

/**
 * Whole disks of the host. Undefined when lsblk is missing, fails, or prints nothing, as it does in containers without
 * /sys/dev/block; the caller then takes /sys. Never throws.
 */
export async function listBlockDevices(signal?: AbortSignal): Promise<BlockDevice[] | undefined> {
  const args = ["--json", "--bytes", "--nodeps", "--output=NAME,SIZE,MODEL,SERIAL,ROTA,TYPE"];
  const result = await exec("lsblk", args, { timeoutMs: TIMEOUT_MS, signal });
  return result.failed ? undefined : parseLsblk(result.stdout);
}

/** Parses lsblk's JSON; undefined when it is none or lists no device. Devices without a size, loop and ROM are left out. */
export function parseLsblk(json: string): BlockDevice[] | undefined {
  const parsed = Report.safeParse(parseJson(json));
  if (!parsed.success) return undefined;
  const disks = parsed.data.blockdevices
    .map(({ name, size, model, serial, rota, type }) => ({
      name,
      sizeBytes: size ?? 0,
      model: model ?? null,
      serial: serial ?? null,
      rotational: rota ?? null,
      type,
    }))
    .filter(({ sizeBytes, type }) => sizeBytes > 0 && type !== "loop" && type !== "rom");
  return disks.length > 0 ? disks : undefined;
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
