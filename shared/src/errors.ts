// SPDX-License-Identifier: Apache-2.0
/** The one error class that crosses module boundaries, and its way onto the wire and back. */
import { ERROR_CODES, ERROR_KINDS, type ErrorCode, type ErrorKind, errorEntry } from "@debvisor/proto-events/errors";
import type { WireError } from "@debvisor/proto-events/replies";

/** Options of a `DvError`. `details` are safe to show; `cause` goes to the log only. */
export interface DvErrorOptions {
  readonly details?: Readonly<Record<string, unknown>> | undefined;
  readonly cause?: unknown;
  /** Only for codes that this version does not know, received from a newer peer. */
  readonly kind?: ErrorKind;
}

/** A failure with a code of the catalogue. `message` is safe to show to the caller; the cause is not. */
export class DvError extends Error {
  override readonly name = "DvError";
  readonly code: ErrorCode;
  readonly kind: ErrorKind;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, message: string, options: DvErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.kind = options.kind ?? ERROR_CODES[code].kind;
    this.details = options.details;
  }

  /** HTTP status of the kind. */
  get httpStatus(): number {
    return ERROR_KINDS[this.kind].http;
  }

  /** Exit code (0 to 6) of the kind. */
  get exitCode(): number {
    return ERROR_KINDS[this.kind].exit;
  }

  /** The form in which it crosses the bus. */
  toWire(): WireError {
    return {
      code: this.code,
      kind: this.kind,
      message: this.message,
      ...(this.details ? { details: { ...this.details } } : {}),
    };
  }
}

/** Makes a `DvError` of an error from the wire; a code unknown here keeps its kind. */
export function fromWire(wire: WireError): DvError {
  return new DvError(wire.code as ErrorCode, wire.message, {
    details: wire.details,
    kind: errorEntry(wire.code)?.kind ?? wire.kind,
  });
}

/** Turns anything thrown into a `DvError`; what is not one becomes INTERNAL with the original as its cause. */
export function toDvError(error: unknown): DvError {
  if (error instanceof DvError) return error;
  return new DvError("INTERNAL", "An internal error occurred.", { cause: error });
}

/** One line per cause, outermost first; for logs. */
export function causeChain(error: unknown, limit = 8): string {
  const lines: string[] = [];
  for (
    let at: unknown = error;
    at !== undefined && lines.length < limit;
    at = at instanceof Error ? at.cause : undefined
  ) {
    lines.push(at instanceof Error ? `${at.name}: ${at.message}` : String(at));
  }
  return lines.join(" <- ");
}
