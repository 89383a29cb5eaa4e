/**
 * Records deployments: copy this file and tracefall.ts.
 *
 *     const deployment = new Deployment("deploy api", {
 *       workspace_id: "w1", release_target_key: "cluster-production-api", release_id: "r42", trigger: "version-created",
 *     });
 *     const planning = deployment.phase("planning");
 *     planning.evaluation("approval policy", "allowed");
 *     planning.check("no freeze", "pass");
 *     planning.decision("api 1.4.2", "approved");
 *     planning.end();
 *     const job = deployment.phase("execution").job("job-7", "kubernetes");
 *     runner.start({ env: job.continuation() });            // whoever runs it continues in a trace of its own:
 *     const run = continueDeployment("helm upgrade", process.env);
 *     job.end();
 *     deployment.end();
 *
 * A rejected decision, a blocked evaluation and a failed check end as failed, with the reason as their error. Everything is
 * told at once, so that a deployment is seen while it runs. Off unless ENABLE_DB_TRACING=true.
 */

import { type Context, type Fields, type Span, startSpan } from "./tracefall.ts";

export type Phase = "reconciliation" | "planning" | "eligibility" | "execution" | "action" | "external";

/** What the release is of: on the root, and inherited by every span below it. */
export type Target = {
  workspace_id?: string;
  release_target_key?: string; // resource-environment-deployment
  release_id?: string;
  job_id?: string;
  trigger?: string;
};

/** A span of a deployment that others can be started below. */
class Step {
  readonly span: Span;
  protected readonly deployment: { sequence: number; target: Target };
  protected readonly phaseName: Phase | undefined;
  protected readonly depth: number;

  constructor(deployment: Step["deployment"], operation: string, phase: Phase | undefined, depth: number, fields: Fields) {
    this.deployment = deployment;
    this.phaseName = phase;
    this.depth = depth;
    const place = { ...deployment.target, phase, depth, sequence: deployment.sequence++ };
    this.span = startSpan(operation, { span_type: "deployment", announce: true, ...place, ...fields });
  }

  protected below(operation: string, fields: Fields, phase: Phase | undefined = this.phaseName): Step {
    return new Step(this.deployment, operation, phase, this.depth + 1, { parent: this.span.context, ...fields });
  }

  /** A policy or rule that was evaluated. */
  evaluation(name: string, result: "allowed" | "blocked", message?: string): void {
    this.judged(name, "evaluation", { result }, result === "blocked" ? (message ?? "blocked") : undefined, message);
  }

  check(name: string, result: "pass" | "fail", message?: string): void {
    this.judged(name, "check", { result }, result === "fail" ? (message ?? "failed") : undefined, message);
  }

  decision(name: string, decision: "approved" | "rejected", message?: string): void {
    this.judged(name, "decision", { decision }, decision === "rejected" ? (message ?? "rejected") : undefined, message);
  }

  /** Something that is done: end it. */
  action(name: string, fields: Fields = {}): Step {
    return this.below(name, { node_type: "action", ...fields });
  }

  /** A job that a runner elsewhere carries out. */
  job(id: string, type: string): Job {
    const fields = { node_type: "action", job_id: id, parent: this.span.context, attributes: { "job.type": type } };
    return new Job(this.deployment, `job ${id}`, this.phaseName, this.depth + 1, fields);
  }

  /** Notes something, as an event at this moment. */
  note(name: string, attributes: Record<string, unknown> = {}): this {
    this.span.event(name, attributes);
    return this;
  }

  end(result?: string): void {
    this.span.complete(result === undefined ? {} : { result });
  }

  fail(error: unknown): void {
    this.span.fail(error);
  }

  private judged(name: string, kind: string, fields: Fields, error?: string, message?: string): void {
    const attributes = message === undefined ? {} : { message };
    const step = this.below(name, { node_type: kind, announce: false, attributes, ...fields });
    if (error === undefined) step.span.complete();
    else step.span.complete({ status: "failed", error: { type: `${kind} ${fields.decision ?? fields.result}`, message: error } });
  }
}

export class Deployment extends Step {
  constructor(operation: string, target: Target, fields: Fields = {}) {
    super({ sequence: 0, target }, operation, undefined, 0, fields);
  }

  phase(phase: Phase): Step {
    return this.below(phase, { node_type: "phase" }, phase);
  }
}

export class Job extends Step {
  /** What the runner of this job needs to continue: as its environment, or in its request. */
  continuation(): Record<string, string> {
    const jobId = String(this.span.record.job_id ?? "");
    return this.span.traceId ? { TRACEFALL_PARENT_TRACE_ID: this.span.traceId, TRACEFALL_JOB_ID: jobId } : {};
  }
}

/** The runner's side: a trace of its own whose root names the deployment's trace and the job; the rest is inherited. */
export function continueDeployment(operation: string, given: Record<string, string | undefined>): Deployment {
  const job = given.TRACEFALL_JOB_ID ? { job_id: given.TRACEFALL_JOB_ID } : {};
  const from = given.TRACEFALL_PARENT_TRACE_ID ? { parent_trace_id: given.TRACEFALL_PARENT_TRACE_ID } : {};
  return new Deployment(operation, job, { ...from, phase: "external", node_type: "action" });
}

export type { Context };
