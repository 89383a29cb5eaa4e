//! Deployments in ctrlplane's words: phases, evaluations, checks, decisions, jobs, and the trace elsewhere that goes on
//! with a job.
//!
//! ```text
//! reconcile                          depth 0, reconciliation
//! ├─ eligibility                     phase: evaluations
//! ├─ planning                        phase: checks, a decision
//! └─ execution                       phase
//!    └─ job                          action; its trace elsewhere: rollout → pull image, kubectl rollout
//! ```

use serde_json::{Map, json};

use super::random::Random;
use super::stage::{FAULTS, LOOK_ALIKES, Stage, ids};
use super::story::{Hop, Story, Tracer, micros, span_id, trace_id};
use super::truth::{Role, Truth};
use crate::model::ids::SpanId;
use crate::model::span::{SpanKind, Status};
use crate::model::time::UnixNanos;

const ENGINE: &str = "deploy-engine";
const RUNNER: &str = "deploy-runner";
const JOB: &str = "dispatch job";
const DECISION: &str = "release decision";
const CHECK: &str = "error budget";
const ROLLOUT: &str = "kubectl rollout";

/// Resource, environment and deployment, as release targets are named.
const TARGETS: [[&str; 3]; 4] = [
    ["cluster-demo", "production", "runner"],
    ["cluster-demo", "staging", "runner"],
    ["cluster-demo", "production", "router"],
    ["cluster-demo", "staging", "router"],
];

/// How the next deployment goes.
#[derive(Clone, Copy, PartialEq)]
enum Course {
    Deployed,
    /// A check fails.
    Rejected,
    /// The version is there already.
    Skipped,
    /// The rollout fails, at the second attempt too.
    Failed,
    /// The second rollout succeeds.
    SecondTry,
    /// The rollout begins, and nothing more is heard.
    Stalled,
    /// The rollout takes a minute longer than most.
    Slow,
}

/// A deployment as it usually goes: its own trace, and its job's.
pub(super) fn healthy(random: &mut Random, scenario: &'static str, start: UnixNanos) -> Vec<Story> {
    tell(random, scenario, start, Course::Deployed)
}

/// A check fails; or there is nothing to do.
pub(super) fn rejected(stage: &mut Stage) {
    for at in stage.spread(FAULTS) {
        for story in on(stage, at, Course::Rejected) {
            let mut culprits = ids(&story, CHECK);
            culprits.extend(ids(&story, DECISION));
            stage.fault(story, &culprits, "the decision follows a failed check; nothing is executed");
        }
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        for story in on(stage, at, Course::Skipped) {
            stage.look_alike(story, None, &[], "skipped: the decision is no refusal");
        }
    }
}

/// The rollout fails twice; or once.
pub(super) fn job_failed(stage: &mut Stage) {
    for at in stage.spread(FAULTS) {
        for story in on(stage, at, Course::Failed) {
            // In the engine's trace the job is the lowest that failed; the reason is in the job's own trace.
            let lowest: Vec<SpanId> = match ids(&story, ROLLOUT) {
                rollouts if rollouts.is_empty() => ids(&story, JOB),
                rollouts => rollouts,
            };
            stage.fault(story, &lowest, "the rollout fails each time, and with it the job and the deployment");
        }
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        for story in on(stage, at, Course::SecondTry) {
            stage.look_alike(story, None, &[], "one rollout fails, the next succeeds, and so does the deployment");
        }
    }
}

/// The job is not heard of again; or it takes its time.
pub(super) fn stalled(stage: &mut Stage) {
    for at in stage.spread(FAULTS) {
        for story in on(stage, at, Course::Stalled) {
            let lowest: Vec<SpanId> = match ids(&story, ROLLOUT) {
                rollouts if rollouts.is_empty() => ids(&story, JOB),
                rollouts => rollouts,
            };
            stage.fault(story, &lowest, "the rollout began, and neither it nor what waits for it ends");
        }
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        for story in on(stage, at, Course::Slow) {
            stage.look_alike_of(story, Some("slow-vs-baseline"), &[], &[], "it takes long, and ends");
        }
    }
}

fn on(stage: &mut Stage, at: UnixNanos, course: Course) -> Vec<Story> {
    let name = stage.name();
    tell(&mut stage.random, name, at, course)
}

/// One release to one target.
struct Release {
    shared: Map<String, serde_json::Value>,
    job_id: String,
    version: String,
}

/// The engine's trace, and the job's where there is one.
fn tell(random: &mut Random, scenario: &'static str, start: UnixNanos, course: Course) -> Vec<Story> {
    let engine_trace = trace_id(random, false);
    let [resource, environment, deployment] = *random.pick(&TARGETS);
    let number = random.below(9_000) + 1_000;
    let mut shared = Map::new();
    shared.insert("workspace_id".into(), "ws-demo".into());
    shared.insert("release_target_key".into(), format!("{resource}-{environment}-{deployment}").into());
    shared.insert("release_id".into(), format!("rel-{number}").into());
    let job_id = format!("demo-job-{:08x}", random.next() >> 32);
    let release = Release { shared, job_id, version: format!("1.{}.{}", number % 90, number % 7) };

    let mut engine = Engine { hops: Vec::new(), at_ms: 0.0, sequence: 0 };
    let runs = engine.plan(random, &release, course);
    let job_starts_ms = engine.at_ms + random.between(250.0, 900.0);
    let mut job = Engine { hops: Vec::new(), at_ms: 0.0, sequence: 0 };
    if runs {
        job.roll_out(random, &release, course);
        let took_ms = job.hops.iter().map(Hop::end_ms).fold(0.0, f64::max);
        engine.execute(random, &release, course, job_starts_ms + took_ms + 120.0);
    }
    engine.finish(course);

    let story = |trace_id, start, shared: &Map<String, serde_json::Value>, hops| {
        let truth = Truth {
            scenario,
            role: Role::Healthy,
            trace_id,
            execution_id: None,
            rule: None,
            also: &[],
            must_not: &[],
            culprit: None,
            region: None,
            model: None,
            missing_span_ids: Vec::new(),
            started_at: start,
            last_at: start,
            why: "nothing is wrong",
        };
        Story { trace_id, start, shared: shared.clone(), hops, truth }
    };
    let mut stories = vec![story(engine_trace, start, &release.shared, engine.hops)];
    if runs {
        // Only the root of the trace elsewhere says what it goes on with; its spans know the workspace and the job.
        let mut elsewhere = Map::new();
        elsewhere.insert("workspace_id".into(), "ws-demo".into());
        elsewhere.insert("release_target_key".into(), "".into());
        elsewhere.insert("job_id".into(), release.job_id.as_str().into());
        if let Some(root) = job.hops.first_mut() {
            root.fields.insert("parent_trace_id".into(), engine_trace.to_string().into());
        }
        let job_trace = trace_id(random, false);
        stories.push(story(job_trace, start.plus(micros(job_starts_ms) * 1_000), &elsewhere, job.hops));
    }
    stories
}

/// Writes one trace, counting its spans as ctrlplane does.
struct Engine {
    hops: Vec<Hop>,
    at_ms: f64,
    sequence: u32,
}

/// A span's place and words.
struct Step<'s> {
    service: &'static str,
    operation: &'s str,
    phase: &'static str,
    node_type: &'static str,
    depth: u32,
}

impl Engine {
    /// Adds a span that begins now; its index.
    fn begin(&mut self, random: &mut Random, below: Option<usize>, step: Step<'_>, length_ms: f64) -> usize {
        let id = span_id(random, false);
        let mut hop = Hop::new(id, Tracer::Deployment, step.service, step.operation, self.at_ms, length_ms)
            .field("phase", step.phase)
            .field("node_type", step.node_type)
            .field("depth", step.depth)
            .field("sequence", self.sequence)
            .attribute("demo", true);
        if let Some(parent) = below.and_then(|index| self.hops.get(index)) {
            hop = hop.below(parent, SpanKind::Internal);
        }
        self.sequence += 1;
        self.hops.push(hop);
        self.hops.len() - 1
    }

    /// A judgement: told of as a whole, a moment later.
    fn judge(&mut self, random: &mut Random, below: usize, phase: &'static str, judged: Judgement<'_>) {
        let length_ms = random.log_normal(18.0, 0.4);
        let step = Step { service: ENGINE, operation: judged.name, phase, node_type: judged.node_type, depth: 2 };
        let index = self.begin(random, Some(below), step, length_ms);
        let hop = &mut self.hops[index];
        let member = if judged.node_type == "decision" { "ctrlplane.decision" } else { "ctrlplane.result" };
        hop.result_attributes.insert(member.into(), judged.verdict.into());
        hop.result_attributes.insert("ctrlplane.message".into(), judged.message.into());
        hop.told = super::story::Told::Once;
        if judged.fails {
            hop.fail(&format!("{} {}", judged.node_type, judged.verdict), judged.message);
        }
        self.at_ms += length_ms + 2.0;
    }

    /// Ends a span now.
    fn end(&mut self, index: usize) {
        self.hops[index].end_us = Some(micros(self.at_ms));
        self.at_ms += 1.0;
    }

    /// Reconciliation, eligibility, planning; whether it comes to an execution.
    fn plan(&mut self, random: &mut Random, release: &Release, course: Course) -> bool {
        let root =
            Step { service: ENGINE, operation: "reconcile", phase: "reconciliation", node_type: "phase", depth: 0 };
        let root = self.begin(random, None, root, 1.0);
        let message = format!("new version {}", release.version);
        self.hops[root].attributes.insert("ctrlplane.trigger".into(), "version.created".into());
        self.hops[root].attributes.insert("ctrlplane.message".into(), message.as_str().into());
        self.hops[root].events.push(("message", micros(1.0), json!({"text": message})));
        self.at_ms += random.between(4.0, 12.0);

        let phase =
            Step { service: ENGINE, operation: "eligibility", phase: "eligibility", node_type: "phase", depth: 1 };
        let eligibility = self.begin(random, Some(root), phase, 1.0);
        self.judge(
            random,
            eligibility,
            "eligibility",
            Judgement::ok("approval policy", "evaluation", "allowed", "2 of 2"),
        );
        self.judge(
            random,
            eligibility,
            "eligibility",
            Judgement::ok("deploy window", "evaluation", "allowed", "always"),
        );
        self.end(eligibility);

        let phase = Step { service: ENGINE, operation: "planning", phase: "planning", node_type: "phase", depth: 1 };
        let planning = self.begin(random, Some(root), phase, 1.0);
        let check = match course {
            Course::Rejected => {
                Judgement { fails: true, ..Judgement::ok(CHECK, "check", "fail", "2 % of the budget is left") }
            }
            _ => Judgement::ok(CHECK, "check", "pass", "86 % of the budget is left"),
        };
        self.judge(random, planning, "planning", check);
        let decision = match course {
            Course::Rejected => Judgement {
                fails: true,
                ..Judgement::ok(DECISION, "decision", "rejected", "a check failed: error budget")
            },
            Course::Skipped => Judgement::ok(DECISION, "decision", "approved", "this version is deployed already"),
            _ => Judgement::ok(DECISION, "decision", "approved", "all checks passed"),
        };
        self.judge(random, planning, "planning", decision);
        self.end(planning);
        if course == Course::Rejected {
            self.hops[planning].fail("rejected", "a check failed: error budget");
        }
        !matches!(course, Course::Rejected | Course::Skipped)
    }

    /// The execution's phase with its job, until the job's trace has ended.
    fn execute(&mut self, random: &mut Random, release: &Release, course: Course, until_ms: f64) {
        let phase = Step { service: ENGINE, operation: "execution", phase: "execution", node_type: "phase", depth: 1 };
        let execution = self.begin(random, Some(0), phase, 1.0);
        self.at_ms += random.between(1.0, 3.0);
        let job = Step { service: ENGINE, operation: JOB, phase: "execution", node_type: "action", depth: 2 };
        let job = self.begin(random, Some(execution), job, 1.0);
        self.hops[job].fields.insert("job_id".into(), release.job_id.as_str().into());
        self.hops[job].attributes.insert("ctrlplane.job_type".into(), "kubernetes".into());
        self.at_ms = until_ms;
        for index in [job, execution] {
            self.end(index);
            match course {
                Course::Failed => self.hops[index].fail("JobFailed", "the job's trace elsewhere ended as failed"),
                Course::Stalled => self.hops[index].never_ends(),
                _ => {}
            }
        }
    }

    /// What the job's runner does, in a trace of its own.
    fn roll_out(&mut self, random: &mut Random, release: &Release, course: Course) {
        let root = Step { service: RUNNER, operation: "run job", phase: "external", node_type: "action", depth: 0 };
        let root = self.begin(random, None, root, 1.0);
        self.at_ms += random.between(40.0, 120.0);
        let pull = Step { service: RUNNER, operation: "pull image", phase: "external", node_type: "action", depth: 1 };
        let pulls_ms = random.log_normal(2_400.0, 0.2);
        let pull = self.begin(random, Some(root), pull, pulls_ms);
        self.hops[pull].attributes.insert("image".into(), format!("registry.demo/app:{}", release.version).into());
        self.at_ms += pulls_ms + 5.0;
        let tries = if matches!(course, Course::Failed | Course::SecondTry) { 2 } else { 1 };
        for number in 0..tries {
            let step = Step { service: RUNNER, operation: ROLLOUT, phase: "external", node_type: "action", depth: 1 };
            let usual = if course == Course::Slow { 62_000.0 } else { 9_000.0 };
            let length_ms = random.log_normal(usual, 0.15);
            let rollout = self.begin(random, Some(root), step, length_ms);
            self.at_ms += length_ms + 50.0;
            let fails = course == Course::Failed || course == Course::SecondTry && number == 0;
            if fails {
                self.hops[rollout]
                    .fail("ProgressDeadlineExceeded", "0 of 3 replicas became ready: the image's health check fails");
            } else if course == Course::Stalled {
                self.hops[rollout].never_ends();
            }
        }
        self.end(root);
        match course {
            Course::Failed => self.hops[root].fail("JobFailed", "the rollout failed twice"),
            Course::Stalled => self.hops[root].never_ends(),
            _ => {}
        }
    }

    /// Ends the root.
    fn finish(&mut self, course: Course) {
        self.end(0);
        match course {
            Course::Rejected => self.hops[0].fail("rejected", "a check failed: error budget"),
            Course::Failed => self.hops[0].fail("JobFailed", "the job failed"),
            Course::Stalled => self.hops[0].never_ends(),
            Course::Skipped => self.hops[0].status = Status::Skipped,
            _ => {}
        }
    }
}

/// An evaluation, a check or a decision.
struct Judgement<'j> {
    name: &'static str,
    node_type: &'static str,
    verdict: &'static str,
    message: &'j str,
    fails: bool,
}

impl<'j> Judgement<'j> {
    fn ok(name: &'static str, node_type: &'static str, verdict: &'static str, message: &'j str) -> Self {
        Self { name, node_type, verdict, message, fails: false }
    }
}
