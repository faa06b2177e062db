// SPDX-License-Identifier: Apache-2.0
/** Reads /proc/cpuinfo: model, topology, and the few flags that decide what a node can do. */

/** Processors of a host. */
export interface CpuInfo {
  readonly model: string;
  readonly sockets: number;
  readonly cores: number;
  readonly threads: number;
  /** Of `REPORTED_FLAGS`, those present. */
  readonly flags: string[];
  /** The processor says that it is a virtual one. */
  readonly hypervisor: boolean;
}

/** Hardware virtualisation, and instructions that guests or Ceph profit from. */
export const REPORTED_FLAGS = ["vmx", "svm", "aes", "avx2", "avx512f"] as const;

/**
 * Parses `/proc/cpuinfo`. `threads` is what the operating system schedules on. Where the kernel states no topology (ARM)
 * one socket is assumed and each thread counts as a core; a missing model is `unknown`.
 */
export function parseCpuInfo(text: string, threads: number): CpuInfo {
  const sockets = new Set<string>();
  const cores = new Set<string>();
  let socket = "0";
  let model: string | undefined;
  let flags: ReadonlySet<string> = new Set();
  for (const line of text.split("\n")) {
    const match = /^([^:\t]+)\t*:\s?(.*)$/.exec(line);
    if (match?.[1] === undefined || match[2] === undefined) continue;
    const value = match[2].trim();
    switch (match[1].trim()) {
      case "physical id":
        socket = value;
        sockets.add(value);
        break;
      case "core id":
        cores.add(`${socket}/${value}`);
        break;
      case "model name":
      case "Model":
        model ??= value === "" ? undefined : value;
        break;
      case "flags":
      case "Features":
        flags = new Set(value.split(/\s+/));
        break;
      default:
    }
  }
  return {
    model: model ?? "unknown",
    sockets: Math.max(sockets.size, 1),
    cores: cores.size > 0 ? cores.size : Math.max(threads, 1),
    threads: Math.max(threads, cores.size, 1),
    flags: REPORTED_FLAGS.filter((flag) => flags.has(flag)),
    hypervisor: flags.has("hypervisor"),
  };
}
