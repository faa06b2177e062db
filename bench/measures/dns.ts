// SPDX-License-Identifier: Apache-2.0
/** Changes of records beside bare nsupdate and dig: one, 500 in a set, 32 clients at once, and how long the secondary takes. */
import { startBind, type TestBind } from "../../test/support/bind.ts";
import { startBenchBus } from "../environment/bus.ts";
import { type BenchDns, startBenchDns, ZONE } from "../environment/dns.ts";
import { alternate, type Measure, type MeasureContext, median, round } from "../measure.ts";

const GOAL = 2;
const CLIENTS = 32;

export const dns: Measure = {
  name: "dns",
  summary: "one change, 500 in one set, 32 clients, against bare nsupdate and dig; propagation apart",
  async run(context) {
    await using named = await startBind({ zones: [ZONE] });
    await using bus = await startBenchBus();
    await using service = await startBenchDns(bus, named);
    await oneChange(context, named, service);
    await changeSet(context, named, service);
    await clients(context, named, service);
    await propagation(context, service);
  },
};

let names = 0;
const name = () => `n${++names}`;
const address = () => `10.${(names >> 16) & 255}.${(names >> 8) & 255}.${names & 255}`;

async function timed(action: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await action();
  return performance.now() - from;
}

function percentile(times: readonly number[], percent: number): number {
  const sorted = [...times].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil((percent / 100) * sorted.length) - 1)] ?? 0;
}

async function bareChange(named: TestBind): Promise<void> {
  const full = `${name()}.${ZONE}`;
  await named.nsupdate(ZONE, `update add ${full}. 300 A ${address()}`);
  if ((await named.dig(full, "A")).length !== 1) throw new Error(`${full} is not there`);
}

async function ourChange(service: BenchDns): Promise<void> {
  const { state, id } = await service.change([{ name: name(), data: [address()] }]);
  if (state !== "succeeded") throw new Error(`${id} is ${state}`);
}

async function oneChange({ quick, report }: MeasureContext, named: TestBind, service: BenchDns): Promise<void> {
  const rounds = quick ? 10 : 100;
  await ourChange(service);
  const { bare, ours } = await alternate(
    rounds,
    () => timed(() => bareChange(named)),
    () => timed(() => ourChange(service)),
  );
  report({
    measure: "dns/change",
    bare: round(median(bare)),
    ours: round(median(ours)),
    ratio: round(median(ours) / median(bare)),
    goal: `<= ${GOAL} x nsupdate and dig`,
    met: median(ours) <= GOAL * median(bare),
    unit: "ms",
    n: rounds,
    p99: round(percentile(ours, 99)),
    p99Bare: round(percentile(bare, 99)),
  });
}

async function changeSet({ quick, report }: MeasureContext, named: TestBind, service: BenchDns): Promise<void> {
  const count = 500;
  const rounds = quick ? 1 : 5;
  const many = () => Array.from({ length: count }, () => ({ name: name(), data: [address()] }));
  const { bare, ours } = await alternate(
    rounds,
    () => {
      const lines = many().map((one) => `update add ${one.name}.${ZONE}. 300 A ${one.data[0]}`);
      return timed(() => named.nsupdate(ZONE, ...lines));
    },
    () => {
      const changes = many();
      return timed(async () => {
        const { state, id } = await service.change(changes);
        if (state !== "succeeded") throw new Error(`${id} is ${state}`);
      });
    },
  );
  report({
    measure: "dns/change-set",
    bare: round(median(bare)),
    ours: round(median(ours)),
    ratio: round(median(ours) / median(bare)),
    goal: "none; bare neither reads before nor verifies after",
    met: true,
    unit: "ms",
    n: count,
  });
}

async function clients({ quick, report }: MeasureContext, named: TestBind, service: BenchDns): Promise<void> {
  const each = quick ? 1 : 10;
  const perSecond = async (action: () => Promise<void>) => {
    const ms = await timed(() =>
      Promise.all(
        Array.from({ length: CLIENTS }, async () => {
          for (let i = 0; i < each; i++) await action();
        }),
      ),
    );
    return (CLIENTS * each * 1_000) / ms;
  };
  const bare = await perSecond(() => bareChange(named));
  const ours = await perSecond(() => ourChange(service));
  report({
    measure: "dns/clients",
    bare: round(bare),
    ours: round(ours),
    ratio: round(bare / ours),
    goal: `<= ${GOAL} x fewer than nsupdate and dig`,
    met: bare <= GOAL * ours,
    unit: "changes/s",
    n: CLIENTS * each,
  });
}

async function propagation({ quick, report }: MeasureContext, service: BenchDns): Promise<void> {
  const rounds = quick ? 2 : 20;
  const alone: number[] = [];
  const both: number[] = [];
  for (let i = 0; i < rounds; i++) alone.push(await timed(() => ourChange(service)));
  await service.addSecondary();
  for (let i = 0; i < rounds; i++) both.push(await timed(() => ourChange(service)));
  report({
    measure: "dns/propagation",
    bare: round(median(alone)),
    ours: round(median(both)),
    ratio: round(median(both) / median(alone)),
    goal: "none; bare is a change that waits for no secondary",
    met: true,
    unit: "ms",
    n: rounds,
  });
}
