import { expect, test } from "vitest";
import { startBusCluster, randomNodeId } from "../../support/bus-cluster.ts";
import { z } from "zod";
test("probe", async () => {
  const t0=performance.now(); const T=(s:string)=>console.log(Math.round(performance.now()),s);
  await using bus = await startBusCluster({ servers: 1 });
  T("up");
  const b=await (await bus.connectCore("discovery")).bucket("dv_leases",z.any());
  await b.create("short",1,{ttlSeconds:2});
  const rev=await b.create("kept",1); 
  await b.watch(c=>T("change "+JSON.stringify(c)));
  const pid=bus.server(0).pid; bus.server(0).kill(); T("killed");
  await bus.server(0).recovered(pid); T("recovered");
  for(;;){ try { await b.get("kept"); break;} catch(e){T("get "+String(e))} }
  T("get ok");
  await b.update("kept",2,rev); T("updated");
  await new Promise(r=>setTimeout(r,14000));
  await b.get("kept"); T("end");
});
