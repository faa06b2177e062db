// SPDX-License-Identifier: Apache-2.0
/** `dvctl tokens create`: the command of the contract; the secret stands apart, with a word that nobody sees it again. */
import { gatewayContract } from "@debvisor/proto-events/gateway";
import { renderRecord } from "@debvisor/shared/table";
import type { ApiReply } from "../client.ts";
import type { Call } from "../command.ts";
import { deriveOne } from "../derive.ts";

const { createToken } = gatewayContract.operations;

export const tokensCreate = deriveOne(createToken, (reply, _cli, call) => print(reply, call));

function print({ body, text }: ApiReply, { output }: Call): void {
  const { secret, token } = body as Readonly<Record<"secret" | "token", unknown>>;
  const style = { color: output.color, nowMs: Date.now() };
  output.result(body, () => `${renderRecord(token, style)}\n\n${renderRecord({ secret }, style)}`, text);
  output.warn("the secret is shown this once: keep it now, the cluster stores only its hash");
}
