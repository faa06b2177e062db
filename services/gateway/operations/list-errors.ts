// SPDX-License-Identifier: Apache-2.0
/** Lists the catalogue of error codes. */
import { ERROR_CODES, ERROR_KINDS, errorEntry } from "@debvisor/proto-events/errors";
import type { gatewayContract } from "@debvisor/proto-events/gateway";
import type { Input, Output } from "@debvisor/proto-events/kit";
import { DvError } from "@debvisor/shared/errors";

type Contract = typeof gatewayContract;

export function listErrorsHandler({ code }: Input<Contract, "listErrors">): Output<Contract, "listErrors"> {
  if (code !== undefined && !errorEntry(code)) throw new DvError("NOT_FOUND", `No error has the code ${code}.`);
  const items = Object.entries(ERROR_CODES)
    .filter(([name]) => code === undefined || name === code)
    .map(([name, { kind, summary, remedy }]) => {
      const { http, exit, retryable } = ERROR_KINDS[kind];
      return {
        code: name,
        kind,
        http: name === "RATE_LIMITED" ? 429 : http,
        exitCode: exit,
        retryable,
        summary,
        remedy,
      };
    });
  return { items };
}
