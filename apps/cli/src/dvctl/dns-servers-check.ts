// SPDX-License-Identifier: Apache-2.0
/** `dvctl dns servers check`, `dvctl dns propagation` and `dvctl dns dnssec check`: tables of the contract, with an exit code of what they show. */
import { dnsContract } from "@debvisor/proto-events/dns";
import { renderTable, valueAt } from "@debvisor/shared/table";
import { EXIT } from "../command.ts";
import { deriveOne, type Printer } from "../derive.ts";

const { checkServer, checkPropagation, checkDnssec } = dnsContract.operations;

/** Prints the rows, and ends with `code` and `complaint` unless `isWell`. */
function judging(isWell: (body: unknown) => boolean, code: number, complaint: string): Printer {
  return ({ body, text }, { columns = [], rows = "" }, { output }) => {
    const found = valueAt(body, rows);
    const style = { color: output.color, nowMs: Date.now() };
    output.result(body, () => renderTable(columns, Array.isArray(found) ? found : [], style), text);
    if (isWell(body)) return EXIT.ok;
    output.error(complaint);
    return code;
  };
}

export const dnsServersCheck = deriveOne(
  checkServer,
  judging((body) => valueAt(body, "verdict") === "ok", EXIT.check, "the server does not answer as it should"),
);

export const dnsPropagation = deriveOne(
  checkPropagation,
  judging((body) => valueAt(body, "propagated") === true, EXIT.failed, "not propagated"),
);

export const dnsDnssecCheck = deriveOne(
  checkDnssec,
  judging((body) => valueAt(body, "verdict") === "ok", EXIT.check, "the signatures of the zone are not in order"),
);
