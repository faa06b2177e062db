// SPDX-License-Identifier: Apache-2.0
/** Makes health checks of one shape: a stable id below its group, and a hint on everything that is not in order. */
import type { HealthCheck, HealthGroup } from "@debvisor/proto-events/node-agent";

/** Makers of findings of one group. `name` becomes the id `<group>.<name>`. */
export interface Findings {
  passed(name: string, message: string): HealthCheck;
  warned(name: string, message: string, hint: string): HealthCheck;
  /** `critical`: the node cannot do its part without it. */
  failed(name: string, message: string, hint: string, critical?: boolean): HealthCheck;
  skipped(name: string, message: string): HealthCheck;
}

/** The makers for a group. */
export function findingsOf(group: HealthGroup): Findings {
  const make = (
    name: string,
    status: HealthCheck["status"],
    message: string,
    hint: string | null,
    critical = false,
  ): HealthCheck => ({ id: `${group}.${name}`, group, status, message, hint, critical });
  return {
    passed: (name, message) => make(name, "passed", message, null),
    warned: (name, message, hint) => make(name, "warned", message, hint),
    failed: (name, message, hint, critical) => make(name, "failed", message, hint, critical),
    skipped: (name, message) => make(name, "skipped", message, null),
  };
}

/** Limits of a figure that must stay high, such as free room. */
export interface Floor {
  readonly warn: number;
  readonly fail: number;
}

/** Compares a figure that should be high with its limits; at a limit it still passes. */
export function levelOf(value: number, floor: Floor): "passed" | "warned" | "failed" {
  if (value < floor.fail) return "failed";
  return value < floor.warn ? "warned" : "passed";
}
