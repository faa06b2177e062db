// SPDX-License-Identifier: Apache-2.0
/** Lists the service instances that answer on the bus. */
import { type gatewayContract, ServiceInstance } from "@debvisor/proto-events/gateway";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { InstanceStats } from "@debvisor/shared/bus/bus";
import { fieldsOf, paginate } from "@debvisor/shared/listing";
import type { InstanceCensus } from "../instances.ts";

type Contract = typeof gatewayContract;

const fields = fieldsOf(ServiceInstance);

export function listServicesHandler({ instances }: { readonly instances: InstanceCensus }) {
  return async (input: Input<Contract, "listServices">): Promise<Output<Contract, "listServices">> =>
    paginate((await instances.list()).map(toInstance), input, { fields, id: (item) => item.instance, sort: "service" });
}

function toInstance(stats: InstanceStats): Output<Contract, "listServices">["items"][number] {
  const { service, instance, version, startedAt, metadata, requests, errors, averageMs } = stats;
  const node = metadata["node"] ?? "";
  return {
    service,
    part: metadata["part"] ?? "core",
    node,
    nodeName: metadata["nodeName"] ?? node,
    instance,
    version,
    startedAt,
    requests,
    errors,
    averageMs,
  };
}
