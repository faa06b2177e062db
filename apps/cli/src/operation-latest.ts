// SPDX-License-Identifier: Apache-2.0
/** `--status [ID]` and `--rollback [ID]` of a durable command (REQUIREMENTS X-14): its last run, and undoing one. */
import { OperationSummary } from "@debvisor/proto-events/operation";
import { page } from "@debvisor/proto-events/replies";
import { DvError } from "@debvisor/shared/errors";
import { actingUser } from "./acting-user.ts";
import { type Call, EXIT } from "./command.ts";
import { rollbackOperation } from "./operation-control.ts";
import { getOperation, type Seen } from "./operation-follow.ts";
import { drawOperation } from "./operation-text.ts";

const LIMIT_MS = 6_000;
/** How many of the newest are looked through for those of this user. */
const LOOKED_AT = 200;
/** What `--rollback` and `--status` mean without an id. */
export const LATEST = "latest";

const Page = page(OperationSummary);

/** Shows how an operation of this type stands: the one with this id, or the user's latest one. */
export async function showLatest(type: string, ref: string, call: Call): Promise<number> {
  const { operation, reply } = await find(type, ref, false, call);
  const { output } = call;
  output.result(reply.body, () => drawOperation(operation, { color: output.color, nowMs: Date.now() }), reply.text);
  return EXIT.ok;
}

/** Undoes an operation of this type: the one with this id, or the user's latest one that can be undone. */
export async function rollbackLatest(
  { type, ref, title }: { readonly type: string; readonly ref: string; readonly title: string },
  call: Call,
): Promise<number> {
  const seen = await find(type, ref, true, call);
  const { reason, check, dryRun } = call.given;
  const only = check === true || dryRun === true;
  return await rollbackOperation(seen, { title: `${title} --rollback`, fields: { reason }, only }, call);
}

async function find(type: string, ref: string, undoable: boolean, call: Call): Promise<Seen> {
  const client = call.client();
  const seen = await getOperation(ref === LATEST ? await latest(type, undoable, call) : ref, client);
  if (seen.operation.type === type) return seen;
  throw new DvError("OPERATION_NOT_FOUND", `${ref} is an operation of another kind: ${seen.operation.type}`);
}

/* @throws OPERATION_NOT_FOUND */
async function latest(type: string, undoable: boolean, call: Call): Promise<string> {
  const own = await newestOf([type], call, undoable);
  if (own) return own.id;
  const what = undoable ? "that can be undone" : "of yours";
  throw new DvError("OPERATION_NOT_FOUND", `there is no ${type} ${what} (${actingUser(call.env)})`, {
    details: { hint: `dvctl operations list --filter type=${type} shows those of everybody; give its id` },
  });
}

/**
 * The user's newest operation of these types. Several people may use one key: an operation counts as this user's when its key
 * is that of the context and the name that its command gave is the same.
 */
export async function newestOf(
  types: readonly string[],
  call: Call,
  undoable = false,
): Promise<OperationSummary | undefined> {
  const [only] = types;
  const conditions = [...(types.length === 1 ? [`type=${only}`] : []), ...(undoable ? ["undoable=true"] : [])];
  const filter = conditions.length === 0 ? undefined : conditions.join(",");
  const query = { filter, sort: "-createdAt", limit: LOOKED_AT };
  const reply = await call.client().request({ method: "GET", path: "/v1/operations", query, timeoutMs: LIMIT_MS });
  const list = Page.safeParse(reply.body);
  if (!list.success)
    throw new DvError("MALFORMED_REPLY", `${reply.server}: the list cannot be read`, { cause: list.error });
  const key = keyOf(call.context().token);
  const user = actingUser(call.env);
  return list.data.items.find(
    (item) =>
      types.includes(item.type) &&
      (key === undefined || item.actor === key) &&
      (item.user === null || item.user === user),
  );
}

/* The id in a key is the actor of what it causes (`dv_<id>_<secret>`). */
function keyOf(token: string | undefined): string | undefined {
  return /^dv_([a-z0-9]{1,32})_/.exec(token ?? "")?.[1];
}
