/** Drives docs/clients/typescript/deployment.ts. Prints one line of JSON for tests/it/recipes/mod.rs. */
import { Deployment, continueDeployment } from "../../../docs/clients/typescript/deployment.ts";
import { configure, stats } from "../../../docs/clients/typescript/tracefall.ts";

configure({ service: "deployer" });
const begun = performance.now();
const target = { workspace_id: "w1", release_target_key: "cluster-production-api", release_id: "r42", trigger: "version-created" };
const deployment = new Deployment("deploy api", target);
const planning = deployment.phase("planning");
planning.evaluation("approval policy", "allowed");
planning.check("no freeze", "pass", "no freeze until Friday");
planning.decision("api 1.4.2", "approved");
planning.end();
const eligibility = deployment.phase("eligibility");
eligibility.decision("cluster-eu", "rejected", "its version is too old");
eligibility.end();
const execution = deployment.phase("execution");
const job = execution.job("job-7", "kubernetes");
const run = continueDeployment("helm upgrade", job.continuation());
run.action("apply manifests").note("applied", { manifests: 12 }).end();
run.end("pass");
job.end();
execution.end();
deployment.end();
console.log(
  JSON.stringify({
    trace_id: deployment.span.traceId,
    continued_trace_id: run.span.traceId,
    calls: 11,
    max_us: (performance.now() - begun) * 1000,
    same: true,
    ...stats(),
  }),
);
