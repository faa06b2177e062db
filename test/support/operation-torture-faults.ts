// SPDX-License-Identifier: Apache-2.0
/** The faults that an operation is tortured with: crashes at every call, steps that fail, repeat, or lose their answers, two owners. */
import { DvError } from "@debvisor/shared/errors";
import type { StepContext } from "@debvisor/shared/operation/definition";
import type { Drive, Fault, Scene } from "./operation-torture.ts";
import { type Around, failed, type StepCall } from "./operation-torture-around.ts";
import type { Hook, When } from "./operation-torture-ports.ts";

const MOMENTS: readonly When[] = ["before", "after"];

function freezeAt(k: number, when: When): Hook {
  return (call, ports) => {
    if (call.k === k && call.when === when) ports.freeze();
  };
}

/** Killed at each call, before it reaches the other side or before its answer is seen; its successor finishes. */
export function crashes(drive: Drive, calls: number, moments: readonly When[] = MOMENTS): Fault[] {
  return everyCall(calls, moments).map(([k, when]) => ({
    group: `crash, ${drive}`,
    name: `crash/${drive}/${k}/${when}`,
    drive,
    ...endsOf(drive),
    hooks: () => [freezeAt(k, when)],
  }));
}

/** The successor is killed as well; a third instance finishes. */
export function doubleCrashes(drive: Drive, calls: number, moments: readonly When[] = MOMENTS): Fault[] {
  return everyCall(calls, moments).map(([k, when]) => ({
    group: `crash of the successor too, ${drive}`,
    name: `crash-twice/${drive}/${k}/${when}`,
    drive,
    ...endsOf(drive),
    hooks: () => [freezeAt(k, when), freezeAt(Math.floor(k / 2) + 1, when === "before" ? "after" : "before")],
  }));
}

function endsOf(drive: Drive): Pick<Fault, "ends"> {
  if (drive === "apply") return { ends: ["succeeded"] };
  // What was asked for when its end had come already, or before anybody heard of it, is not answered.
  return {
    ends:
      drive === "fail" ? ["rolled-back", "failed"] : drive === "cancel" ? ["cancelled"] : ["rolled-back", "succeeded"],
  };
}

function everyCall(calls: number, moments: readonly When[]): [number, When][] {
  return Array.from({ length: calls }, (_, i) => moments.map((when): [number, When] => [i + 1, when])).flat();
}

/** A live owner that is slow at one call, while another takes over and finishes, or undoes because somebody cancelled. */
export function races(calls: number, moments: readonly When[] = MOMENTS): Fault[] {
  return everyCall(calls, moments).flatMap(([k, when]) =>
    [false, true].map(
      (cancels): Fault => ({
        group: cancels ? "two owners, cancelled" : "two owners",
        name: `race${cancels ? "-cancel" : ""}/${k}/${when}`,
        drive: "apply",
        ...(cancels ? {} : endsOf("apply")),
        hooks: ({ bench, id, takeOver }: Scene): readonly Hook[] => [
          async (call) => {
            if (call.k !== k || call.when !== when) return;
            if (cancels) await bench.ask(id, "cancel").catch(() => undefined);
            await takeOver();
          },
        ],
      }),
    ),
  );
}

/** Steps that fail, once or for good, and undos that do. */
export function failures(): Fault[] {
  const isDo = ({ direction, step }: StepCall, scene: Scene) => direction === "do" && step === scene.one.lastStep;
  const isUndo = ({ direction }: StepCall) => direction === "undo";
  const afterwards = async (real: () => Promise<unknown>): Promise<never> => {
    await real();
    throw failed("after its effect");
  };
  const always = (when: When): Fault => ({
    group: "a step fails",
    name: `step-fails/${when}`,
    drive: "apply",
    around: (scene) => (call, real) => {
      if (!isDo(call, scene)) return real();
      if (when === "before") throw failed("before its effect");
      return afterwards(real);
    },
  });
  const undoOnce = (when: When): Fault => ({
    group: "an undo fails once",
    name: `undo-fails-once/${when}`,
    drive: "fail",
    around: () => {
      const seen = new Set<string>();
      return (call, real) => {
        if (!isUndo(call) || seen.has(call.step)) return real();
        seen.add(call.step);
        if (when === "before") throw failed("before its undo");
        return afterwards(real);
      };
    },
  });
  const undoForGood = (when: When): Fault => ({
    group: "an undo fails for good",
    name: `undo-fails/${when}`,
    drive: "fail",
    sticks: true,
    patience: { undoMs: 150 },
    around: (scene) => (call, real) => {
      if (!isUndo(call) || scene.healed) return real();
      if (when === "before") throw failed("before its undo");
      return afterwards(real);
    },
  });
  return MOMENTS.flatMap((when) => [always(when), undoOnce(when), undoForGood(when)]);
}

/** Everything that can be repeated is. */
export function repetitions(drive: Drive): Fault[] {
  const twice: Around = async (call, real) => {
    const first = await real();
    return call.direction === "inspect" ? first : await real();
  };
  const atOnce: Around = async (call, real) => {
    if (call.direction === "inspect") return await real();
    const [first] = await Promise.all([real(), real()]);
    return first;
  };
  return [
    { group: "everything twice", name: `twice/${drive}`, drive, ...endsOf(drive), around: () => twice },
    { group: "everything twice", name: `twice-at-once/${drive}`, drive, ...endsOf(drive), around: () => atOnce },
    { group: "a late repeat after the undo", name: `late/${drive}`, drive, ...endsOf(drive), around: lateRepeat },
  ];
}

/** After the undo of a step its order to do comes once more. */
function lateRepeat(): Around {
  const contexts = new Map<string, StepContext>();
  return async (call, real) => {
    if (call.direction === "do") contexts.set(call.step, call.context);
    const answer = await real();
    const earlier = contexts.get(call.step);
    if (call.direction === "undo" && earlier) await call.again(earlier).catch(() => undefined);
    return answer;
  };
}

/** Orders whose answers are lost, and orders that arrive twice. */
export function lostAndDoubled(drive: Drive, calls: number): Fault[] {
  const lost = (name: string, hits: (n: number) => boolean): Fault => ({
    group: "lost answers",
    name: `lost/${drive}/${name}`,
    drive,
    ...endsOf(drive),
    hooks: (): readonly Hook[] => {
      let n = 0;
      return [
        ({ port, when }) => {
          if (port === "bus.command" && when === "after" && hits(++n))
            throw new DvError("TIMEOUT", "The answer was lost.");
        },
      ];
    },
  });
  const lostAt = (k: number): Fault => ({
    group: "lost answers",
    name: `lost-call/${drive}/${k}`,
    drive,
    hooks: () => [
      (call) => {
        if (call.k !== k || call.when !== "after") return;
        throw new DvError(
          call.port.startsWith("audit") ? "AUDIT_UNAVAILABLE" : "BUS_UNAVAILABLE",
          "The answer was lost.",
        );
      },
    ],
  });
  return [
    lost("first", (n) => n === 1),
    lost("first three", (n) => n <= 3),
    ...Array.from({ length: calls }, (_, i) => lostAt(i + 1)),
  ];
}

/** kill -9 of the message bus at the n-th append to the log. */
export function brokerKills(drive: Drive, appends: readonly number[], moments: readonly When[] = MOMENTS): Fault[] {
  return appends.flatMap((n) =>
    moments.map((when): Fault => {
      let pid: number | undefined;
      return {
        group: `kill -9 of the bus, ${drive}`,
        name: `broker/${drive}/${n}/${when}`,
        drive,
        ...endsOf(drive),
        patience: { unreachableMs: 15_000, undoMs: 20_000 },
        timeoutMs: 3_000,
        hooks: ({ bench }): readonly Hook[] => {
          let seen = 0;
          return [
            (call) => {
              if (call.port !== "log.append" || call.when !== when || ++seen !== n) return;
              const server = bench.cluster.server(0);
              pid = server.pid;
              server.kill();
            },
          ];
        },
        restore: ({ bench }) => bench.cluster.server(0).recovered(pid),
      };
    }),
  );
}

/** kill -9 of the node part at the n-th commit of its ledger or change of a folder. */
export function nodeKills(drive: Drive, points: readonly number[], moments: readonly When[] = MOMENTS): Fault[] {
  return points.flatMap((at) =>
    moments.map(
      (when): Fault => ({
        group: `kill -9 of the node part, ${drive}`,
        name: `node/${drive}/${at}/${when}`,
        drive,
        ...endsOf(drive),
        patience: { unreachableMs: 20_000, undoMs: 20_000 },
        timeoutMs: 800,
        prepare: ({ one }) => one.nodes[0]?.plan({ at, when }),
        restore: async ({ one }) => {
          await one.nodes[0]?.settled();
          one.nodes[0]?.plan(undefined);
        },
      }),
    ),
  );
}

/** Calls of an operation of which every fourth is taken where it is every other one of others. */
const MANY_CALLS = 50;

/**
 * A selection for an operation whose last steps can only go on: its crashes there all end alike, and its calls are slow. The soak
 * makes all of them.
 */
export function sealedFaultsOf({ apply }: Readonly<Record<Drive, number>>): Fault[] {
  const stride = apply > MANY_CALLS ? 4 : 2;
  const some = (faults: readonly Fault[], together = 1) =>
    faults.filter((_fault, i) => Math.floor(i / together) % stride === 0);
  return [
    cancelledEarly(),
    ...crashes("apply", apply, ["after"]),
    ...some(doubleCrashes("apply", apply, ["after"])),
    ...some(races(apply, ["before"]), 2),
    ...failures().filter(({ drive }) => drive !== "fail"),
    ...repetitions("apply"),
    ...some(lostAndDoubled("apply", apply)),
  ];
}

/** Nothing is in the way but somebody who cancels it during its first step, so that an undo is among the runs whatever is chosen. */
function cancelledEarly(): Fault {
  return {
    group: "cancelled early",
    name: "cancelled-early",
    drive: "apply",
    ends: ["cancelled"],
    around: ({ bench, id }) => {
      let asked = false;
      return async (call, real) => {
        const isFirst = !asked && call.direction === "do";
        if (isFirst) {
          asked = true;
          await bench.ask(id, "cancel");
        }
        return await real();
      };
    },
  };
}

/** A few of many faults, the first among them: odd, so that of pairs both kinds are among them. */
export function fewOf(faults: readonly Fault[]): Fault[] {
  return faults.filter((_fault, i) => i % 7 === 0);
}

/** A selection for an operation whose calls start programs. The soak makes all of them. */
export function sparingFaultsOf({ apply, fail, rollback }: Readonly<Record<Drive, number>>): Fault[] {
  const third = (faults: readonly Fault[], from = 0) => faults.filter((_fault, i) => i % 3 === from);
  return [
    ...crashes("apply", apply, ["after"]),
    ...third(crashes("fail", fail, ["after"])),
    ...third(doubleCrashes("apply", apply, ["after"]), 1),
    ...third(races(apply, ["before"]), 2),
    ...failures(),
    ...repetitions("apply"),
    ...repetitions("fail"),
    ...third(lostAndDoubled("apply", apply)),
    ...third(crashes("rollback", rollback, ["after"]), 1),
  ];
}

/** Every fault for an operation, or the selection of them that each run of the tests makes. */
export function faultsOf(calls: Readonly<Record<Drive, number>>, undoable: boolean, all: boolean): Fault[] {
  const moments = all ? MOMENTS : (["after"] as const);
  return [
    ...crashes("apply", calls.apply),
    ...crashes("fail", calls.fail),
    ...crashes("cancel", calls.cancel, moments),
    ...doubleCrashes("apply", calls.apply, moments),
    ...(all ? doubleCrashes("fail", calls.fail) : []),
    ...races(calls.apply, all ? MOMENTS : ["before"]),
    ...failures().filter(({ drive }) => drive !== "fail" || undoable),
    ...repetitions("apply"),
    ...repetitions("fail"),
    ...lostAndDoubled("apply", calls.apply),
    ...(undoable ? [...crashes("rollback", calls.rollback, moments), ...repetitions("rollback")] : []),
    ...(undoable && all ? doubleCrashes("rollback", calls.rollback) : []),
  ];
}
