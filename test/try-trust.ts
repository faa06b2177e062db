import { startLocalCluster } from "./support/local-cluster.ts";
import { readFileSync } from "node:fs";
const lab = await startLocalCluster({ flags: ["--nodes", "4"], dataDir: "/tmp/trust-lab" });
try {
  await lab.untilReplicated();
  const show = async (...a: string[]) => { const r = await lab.dvctl(...a); console.log(`$ dvctl ${a.join(" ")} -> ${r.code} ${Math.round(r.ms)} ms\n${r.stdout}${r.stderr}`); };
  await show("trust", "show");
  await show("trust", "rotate", "--reason", "yearly", "--mode", "plan");
  await show("trust", "rotate", "--reason", "yearly");
  await show("trust", "show");
  await show("cluster", "certificates");
} finally { await lab.stop(); }
