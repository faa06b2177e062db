// SPDX-License-Identifier: Apache-2.0
/**
 * The closed list of error kinds and the open catalogue of error codes. A kind fixes the HTTP status, the exit code and
 * whether a retry can help, so that REST, WebSocket and shells always agree (REQUIREMENTS X-02). `dvctl errors` and the
 * reference page are made from this file; nobody keeps a second table.
 */

/** What each kind of failure means to HTTP callers, shells and retry loops. `timeout` is retryable only if the operation is idempotent. */
export const ERROR_KINDS = {
  "invalid-argument": { http: 400, exit: 2, retryable: false },
  unauthenticated: { http: 401, exit: 1, retryable: false },
  "permission-denied": { http: 403, exit: 1, retryable: false },
  "not-found": { http: 404, exit: 3, retryable: false },
  conflict: { http: 409, exit: 5, retryable: false },
  "precondition-failed": { http: 412, exit: 6, retryable: false },
  "validation-failed": { http: 422, exit: 6, retryable: false },
  busy: { http: 423, exit: 5, retryable: true },
  "operation-failed": { http: 502, exit: 5, retryable: false },
  unavailable: { http: 503, exit: 4, retryable: true },
  timeout: { http: 504, exit: 4, retryable: true },
  "insufficient-capacity": { http: 507, exit: 5, retryable: false },
  internal: { http: 500, exit: 1, retryable: false },
} as const;

/** One of the 13 kinds. */
export type ErrorKind = keyof typeof ERROR_KINDS;

/** A catalogue entry: its kind, what happened in one sentence, and what the operator does about it. */
export interface ErrorEntry {
  readonly kind: ErrorKind;
  readonly summary: string;
  readonly remedy: string;
}

/** Codes that any operation may answer with; they need not be listed in an operation's `errors`. */
export const GENERAL_ERROR_CODES = {
  INVALID_ARGUMENT: {
    kind: "invalid-argument",
    summary: "The request does not match the operation's schema.",
    remedy: "Correct the fields named under `details.issues`; `dvctl <noun> <verb> --help` or /docs shows the schema.",
  },
  UNAUTHENTICATED: {
    kind: "unauthenticated",
    summary: "The request carries no credential, or one that is unknown, expired or revoked.",
    remedy: "Send `Authorization: Bearer <token>`; `dvctl token show` prints the one of the current context.",
  },
  PERMISSION_DENIED: {
    kind: "permission-denied",
    summary: "The caller is known but its role or scopes do not include the operation's permission.",
    remedy: "Ask an administrator for a token whose role includes the permission named in `details.permission`.",
  },
  NOT_FOUND: {
    kind: "not-found",
    summary: "No such resource or route.",
    remedy: "Check the spelling; list what exists with the noun's `list` command.",
  },
  REQUEST_TOO_LARGE: {
    kind: "invalid-argument",
    summary: "The request body, URL or message is larger than the limit.",
    remedy: "Send less; the message names the limit, which is a setting of the gateway.",
  },
  RATE_LIMITED: {
    kind: "busy",
    summary: "The caller sent more requests than its rate class allows.",
    remedy: "Wait for the time in the Retry-After header, then try again.",
  },
  UNAVAILABLE: {
    kind: "unavailable",
    summary: "The service that answers this operation cannot be reached.",
    remedy: "Look at `dvctl status` and `dvctl services list`; try again once the service is back.",
  },
  TIMEOUT: {
    kind: "timeout",
    summary: "No answer arrived in time; whether the operation took effect is unknown.",
    remedy: "Read the state back before trying again; raise --timeout when the target is slow.",
  },
  INTERNAL: {
    kind: "internal",
    summary: "A bug or an impossible answer.",
    remedy: "Report the request id; the log of the service that answered has the cause under the same id.",
  },
  NO_TARGETS: {
    kind: "not-found",
    summary: "The selection of nodes matches none.",
    remedy: "List the nodes with `dvctl nodes list`; say `all` when all are meant.",
  },
  BUS_UNAVAILABLE: {
    kind: "unavailable",
    summary: "The message bus cannot be reached or did not acknowledge in time.",
    remedy: "Check that a majority of the server nodes run: `dvctl status` says whether writes are acknowledged.",
  },
  MALFORMED_REPLY: {
    kind: "internal",
    summary: "The peer answered with something that is not a valid reply.",
    remedy: "Compare the versions in `dvctl nodes list`; restart the service on the node named.",
  },
  CONFIG_INVALID: {
    kind: "invalid-argument",
    summary: "A configuration file, environment variable or flag has a value that its schema refuses.",
    remedy: "Correct the key named in the message; `dvctl config show --origin` says where each value came from.",
  },
  CONFLICT: {
    kind: "conflict",
    summary: "Somebody else changed the object meanwhile, or it exists already.",
    remedy: "Read it again and repeat the change.",
  },
} as const satisfies Record<string, ErrorEntry>;

/** Codes that belong to particular operations or to starting a cluster on this machine. */
export const SPECIFIC_ERROR_CODES = {
  NODE_NOT_FOUND: {
    kind: "not-found",
    summary: "No node with that id or name is registered.",
    remedy: "List the nodes with `dvctl nodes list`.",
  },
  NODE_NAME_TAKEN: {
    kind: "conflict",
    summary: "Another node is registered under that name.",
    remedy: "Choose another name, or delete the old node first.",
  },
  MEMBER_REMOVED: {
    kind: "permission-denied",
    summary: "The machine was removed from this cluster and may not come back under its key.",
    remedy:
      "Give it a new identity with `dvctl nodes reset --confirm ID` on that machine, then let it join as a new node.",
  },
  IDENTITY_CONFLICT: {
    kind: "conflict",
    summary: "Another key claims the node id of a member.",
    remedy: "A cloned disk carries its key along: run `dvctl nodes reset --confirm ID` on the copy.",
  },
  KEY_BOUND_ELSEWHERE: {
    kind: "conflict",
    summary: "The node's key was made on another machine than the one that wants to use it.",
    remedy:
      "A copy of a disk gets a new identity with `dvctl nodes reset --confirm ID`. Where hardware or system were replaced on purpose: `dvctl nodes rebind --confirm ID`. Both are typed on that machine.",
  },
  JOIN_CLOSED: {
    kind: "permission-denied",
    summary: "The cluster no longer lets machines in by the cluster secret alone.",
    remedy: "Run `dvctl nodes accept` on a member and type the code at the machine: `debvisor-join --code CODE`.",
  },
  CLUSTER_FULL: {
    kind: "precondition-failed",
    summary: "The cluster has as many servers as it is declared to have.",
    remedy: "Let the machine join with role worker.",
  },
  FORMATION_SPLIT: {
    kind: "conflict",
    summary: "Two formations of one cluster id exist. They are never merged.",
    remedy:
      "See docs/guides/recover-a-cluster.md; the one without workloads is reset with `dvctl nodes reset --confirm ID`.",
  },
  RESCUE_REFUSED: {
    kind: "precondition-failed",
    summary: "Going on alone could split the cluster or lose what others hold; nothing was changed.",
    remedy:
      "The message says what stands against it. Power off for ever every other server and name each with --off; see docs/guides/recover-a-cluster.md.",
  },
  PRESEED_INVALID: {
    kind: "invalid-argument",
    summary: "The preseed file cannot be used.",
    remedy: "Correct the named field; docs/guides/form-a-cluster.md describes the file.",
  },
  NODE_ALIVE: {
    kind: "precondition-failed",
    summary: "A node that still sends heartbeats cannot be deleted.",
    remedy: "Stop the node first, or disable it: `dvctl nodes disable NODE --reason TEXT`.",
  },
  TOKEN_NOT_FOUND: {
    kind: "not-found",
    summary: "No token with that id exists.",
    remedy: "List the tokens with `dvctl tokens list`.",
  },
  TOKEN_SCOPE_TOO_WIDE: {
    kind: "permission-denied",
    summary: "A token cannot be given more than its creator may do.",
    remedy: "Ask for a role and scopes within your own.",
  },
  IDEMPOTENCY_KEY_MISSING: {
    kind: "invalid-argument",
    summary: "A request that changes something needs the header Idempotency-Key.",
    remedy: "Send `Idempotency-Key: <random value>`, and the same value when you repeat the same request.",
  },
  IDEMPOTENCY_KEY_REUSED: {
    kind: "conflict",
    summary: "The Idempotency-Key was used before, with another request or by another caller.",
    remedy: "Make a new key for a new request.",
  },
  IDEMPOTENCY_IN_PROGRESS: {
    kind: "busy",
    summary: "The first request with this Idempotency-Key has not ended yet.",
    remedy: "Wait and repeat the request with the same key; the stored answer is returned.",
  },
  MDNS_UNAVAILABLE: {
    kind: "unavailable",
    summary: "Multicast DNS cannot be used on the chosen interface.",
    remedy: "Check that the interface exists, is up and that UDP port 5353 may be shared.",
  },
  NATS_SERVER_MISSING: {
    kind: "unavailable",
    summary: "No nats-server of version 2.15 or newer was found, and it could not be fetched.",
    remedy: "Install it, or set NATS_SERVER to its path.",
  },
  NATS_SERVER_FAILED: {
    kind: "operation-failed",
    summary: "nats-server did not start or did not become healthy in time.",
    remedy: "Read the last lines of its log, named in the message.",
  },
  PORT_BUSY: {
    kind: "conflict",
    summary: "Another program already listens on a port that the cluster needs.",
    remedy: "Choose another port with `--port`, or stop the other program.",
  },
  DATA_FOLDER_CORRUPT: {
    kind: "validation-failed",
    summary: "The data folder holds a file that cannot be read as what it should be.",
    remedy: "Restore the file named in the message from a backup, or start with a new folder: `--data DIR`.",
  },
  LAB_RUNNING: {
    kind: "busy",
    summary: "A cluster already runs from this data folder.",
    remedy: "Use it, stop it, or choose another folder with `--data DIR`.",
  },
  LAB_NOT_RUNNING: {
    kind: "unavailable",
    summary: "No local cluster runs from this data folder.",
    remedy: "Start one with `npm start`.",
  },
  CONTEXT_MISSING: {
    kind: "unavailable",
    summary: "No context tells the command which cluster to talk to.",
    remedy: "Start a local cluster with `npm start`, or give `--context FILE` or `--server URL` with DV_TOKEN.",
  },
  TOOL_FAILED: {
    kind: "operation-failed",
    summary: "An outside program ran and failed.",
    remedy: "`details` carries the program, its exit status and its last lines.",
  },
  TOOL_MISSING: {
    kind: "precondition-failed",
    summary: "A program that is needed here is not installed.",
    remedy: "Install the package named in `details`.",
  },
  OPERATION_NOT_FOUND: {
    kind: "not-found",
    summary: "No operation with that id exists, or its record is past the retention time.",
    remedy: "List the operations with `dvctl operations list`.",
  },
  OPERATION_STATE: {
    kind: "conflict",
    summary: "The operation's state does not allow that: it has ended, or it cannot be paused or undone.",
    remedy: "Look at it with `dvctl operations show ID`; `dvctl operations why ID` says what it waits for.",
  },
  PLAN_STALE: {
    kind: "conflict",
    summary: "What the plan was made from has changed since.",
    remedy: "Make the plan again and look at it before applying.",
  },
  CHECK_FAILED: {
    kind: "precondition-failed",
    summary: "A prerequisite of the operation is not met; nothing was changed.",
    remedy: "`details.checks` names every check that failed and what to do about it.",
  },
  LOCK_HELD: {
    kind: "busy",
    summary: "Another operation holds a lock that this one needs; nothing was changed.",
    remedy: "Wait for the operation named in the message, or join the queue with `--wait`.",
  },
  IN_MAINTENANCE: {
    kind: "busy",
    summary: "A target, or the whole cluster, is in maintenance; new changes are refused except to its holder.",
    remedy: "`dvctl maintenance status` names holder and reason; `dvctl maintenance disable NODE` ends it.",
  },
  BLAST_RADIUS_EXCEEDED: {
    kind: "precondition-failed",
    summary: "The operation would touch more targets of one failure domain than its kind allows.",
    remedy: "Select fewer, or give the reason for going further with `--override TEXT`; it is recorded.",
  },
  AUDIT_UNAVAILABLE: {
    kind: "unavailable",
    summary: "The audit trail did not acknowledge the record, so nothing was changed.",
    remedy: "Check that a majority of the server nodes run: `dvctl status`; then try again.",
  },
  COMMAND_REFUSED: {
    kind: "permission-denied",
    summary: "A node refused a command: its envelope is missing, forged, expired, replayed or not meant for it.",
    remedy:
      "Compare the clocks of the nodes; `details.cause` says which check failed. The node has recorded the attempt.",
  },
  COMMAND_FENCED: {
    kind: "conflict",
    summary: "A newer owner of the operation, or a newer operation on the same resource, has taken over.",
    remedy: "A newer owner finishes the work. After the bus was restored from a backup, submit the operation again.",
  },
  STEP_FAILED: {
    kind: "operation-failed",
    summary: "A step of the operation failed; what it and the steps before it did was undone.",
    remedy: "The error of the step says why; `dvctl operations show ID` shows every step.",
  },
  UNDO_FAILED: {
    kind: "operation-failed",
    summary: "Undoing a step failed; the operation is stuck and holds its locks.",
    remedy: "Remove the cause, then `dvctl operations continue ID` undoes the rest.",
  },
  VERIFY_FAILED: {
    kind: "operation-failed",
    summary: "Every step reported success, but reading the result back shows something else; it was undone.",
    remedy: "`details` names what differs; look for somebody else who changes the same thing.",
  },
  NOT_CONFIRMED: {
    kind: "operation-failed",
    summary: "The operation was to be confirmed in time and was not, so it undid itself.",
    remedy: "Do it again, and confirm with `dvctl operations confirm ID` while it is being tried.",
  },
  BUDGET_SPENT: {
    kind: "busy",
    summary: "Operations of this kind have been accepted as often in the last hour as is allowed.",
    remedy: "Wait, or give the reason for going further with `--override TEXT`; it is recorded.",
  },
  DEADLINE_PASSED: {
    kind: "operation-failed",
    summary: "The operation did not end before its deadline; what it did was undone.",
    remedy: "`dvctl operations show ID` shows where the time went; give more with `--deadline`.",
  },
  UNIT_NOT_MANAGED: {
    kind: "precondition-failed",
    summary: "The unit is none of this node's own services, and no systemd runs there that could know it.",
    remedy: "`details.units` lists the units that this node manages.",
  },
  PATH_REFUSED: {
    kind: "validation-failed",
    summary:
      "The path is not one that file operations may touch: relative, outside of the host's root, a link or no regular file.",
    remedy: "Give the absolute path of a regular file.",
  },
  FILE_TOO_LARGE: {
    kind: "validation-failed",
    summary: "The file is larger than an operation may carry (256 KiB).",
    remedy: "Put large files there by a package or an image.",
  },
  NODE_NOT_RETURNED: {
    kind: "operation-failed",
    summary: "The node did not come back in time after its restart.",
    remedy: "Look at its console; `dvctl nodes show NODE` says when it was last heard.",
  },
  DNS_SERVER_MISSING: {
    kind: "precondition-failed",
    summary: "No DNS server is configured for the zone.",
    remedy: "Name one: `dvctl dns servers add NAME --address IP --role primary --zone ZONE --key FILE`.",
  },
  DNS_SERVER_NOT_FOUND: {
    kind: "not-found",
    summary: "No DNS server of that name is configured.",
    remedy: "List them with `dvctl dns servers list`.",
  },
  DNS_KEY_NOT_FOUND: {
    kind: "not-found",
    summary: "No TSIG key of that name is stored, or it was sealed for another cluster.",
    remedy: "List the keys with `dvctl dns keys list`; give the key with `dvctl dns keys import FILE`.",
  },
  DNS_KEY_INVALID: {
    kind: "validation-failed",
    summary:
      "The TSIG key cannot be used: no key file, a file that others may read, an unknown algorithm, a weak secret.",
    remedy: "Make one with `tsig-keygen -a hmac-sha256 NAME`, and give the file mode 0600.",
  },
  DNS_RECORD_INVALID: {
    kind: "validation-failed",
    summary: "A name, address or value is none that DNS or this kind of record allows.",
    remedy: "The message names what is wrong; nothing was changed.",
  },
  DNS_TSIG_BADKEY: {
    kind: "precondition-failed",
    summary: "The DNS server does not know the TSIG key by that name and algorithm (BADKEY).",
    remedy: "Put the key into the server's configuration and reload it; `rndc tsig-list` shows what it knows.",
  },
  DNS_TSIG_BADSIG: {
    kind: "precondition-failed",
    summary: "The DNS server knows a TSIG key of that name with another secret (BADSIG).",
    remedy: "Compare the key file here with the server's; import the right one with `dvctl dns keys import FILE`.",
  },
  DNS_TSIG_BADTIME: {
    kind: "precondition-failed",
    summary: "The clocks of this node and of the DNS server are too far apart for TSIG (BADTIME).",
    remedy: "Synchronise both clocks; `details.skewSeconds` says by how much the server's is ahead.",
  },
  DNS_NOT_AUTHORITATIVE: {
    kind: "precondition-failed",
    summary: "The DNS server is no primary of the zone (NOTAUTH).",
    remedy: "Check zone and role in `dvctl dns servers list` against the server's configuration.",
  },
  DNS_REFUSED: {
    kind: "operation-failed",
    summary: "The DNS server refused the request: its policy does not let this key do that.",
    remedy: "Grant the key the right in `update-policy`, or for a listing in `allow-transfer`.",
  },
  DNS_UNREACHABLE: {
    kind: "unavailable",
    summary: "No DNS server of the zone answers.",
    remedy: "Check address, port 53 (UDP and TCP) and firewall: `dvctl dns servers check NAME`.",
  },
  DNS_NOT_PROPAGATED: {
    kind: "operation-failed",
    summary: "Not every server of the zone answered alike in time, and the change was to be undone then.",
    remedy: "`details.servers` names each with its serial; give more time with `--propagation`, or look at the server.",
  },
  AUDIT_RECORD_NOT_FOUND: {
    kind: "not-found",
    summary: "The audit trail has no record or checkpoint at that place.",
    remedy: "`dvctl audit list` shows the records with their sequence.",
  },
  WITNESS_REFUSED: {
    kind: "conflict",
    summary: "A witness will not cosign a checkpoint: it contradicts one that it has cosigned before.",
    remedy: "Run `dvctl audit verify`, and keep the trail of every server before anything else.",
  },
  JOIN_PROOF_FAILED: {
    kind: "permission-denied",
    summary:
      "On the join port one side could not prove that it may be believed: another secret, a wrong code, an unknown key.",
    remedy:
      "Compare cluster id and secret in the preseed files of both machines; after a wrong code run `dvctl nodes accept` anew.",
  },
  JOIN_CODE_WRONG: {
    kind: "operation-failed",
    summary:
      "The machine that was asked does not believe the one-time code; it is another one, or the machine is no member.",
    remedy:
      "Type the code again, three wrong ones make it void; name the member with `--address HOST` where others may answer in its place.",
  },
  JOIN_VERSION: {
    kind: "precondition-failed",
    summary: "The two machines have no version of the join protocol in common.",
    remedy: "Install the same release on both; the message names the versions of each.",
  },
  JOIN_WORDS_DIFFER: {
    kind: "operation-failed",
    summary: "The words that were typed are not those of the machine that waits; its attempt is over.",
    remedy:
      "Start `debvisor-join --words` again and compare anew. Where the two screens show different words, somebody sits in between: do not approve.",
  },
  JOIN_MODE_REFUSED: {
    kind: "precondition-failed",
    summary: "The other machine does not let anyone in by this kind of proof now; no weaker one is tried instead.",
    remedy: "Run `dvctl nodes accept` on a member and type the code at the machine, or wait until a member is ready.",
  },
  JOIN_UNREACHABLE: {
    kind: "unavailable",
    summary: "The join port cannot be reached, or the connection ended before an answer.",
    remedy: "Check address, TCP port 8422 and firewall; a busy member drops connections, so try again.",
  },
} as const satisfies Record<string, ErrorEntry>;

/** Every code that can appear on the wire or on a terminal. */
export const ERROR_CODES = { ...GENERAL_ERROR_CODES, ...SPECIFIC_ERROR_CODES };

/** A code of the catalogue. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** Looks a code up; `undefined` for a code this version does not know. */
export function errorEntry(code: string): ErrorEntry | undefined {
  return Object.hasOwn(ERROR_CODES, code) ? ERROR_CODES[code as ErrorCode] : undefined;
}

/** The exit code (0 to 6) that belongs to a kind. */
export function exitCodeOf(kind: ErrorKind): number {
  return ERROR_KINDS[kind].exit;
}
