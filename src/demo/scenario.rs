//! The table of scenarios: what each shows, which rule should find it, and what it must be told apart from.

use super::beacon::{ASIA, EU, LLAMA, MISTRAL, Model, QWEN, Region, US};
use super::stage::{LOOK_ALIKES_FROM, Stage};
use super::{deployment, limits, network, slow, startup, telemetry, workflow};

/// One pattern of failure, with traces that show it and traces that only resemble it.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// The rule that should find it.
    pub rule: &'static str,
    /// Rules that say the same with other words, or a part of it.
    pub also: &'static [&'static str],
    /// Rules that its look-alikes must not trigger.
    pub must_not: &'static [&'static str],
    /// What there is to see, in a sentence.
    pub shows: &'static str,
    /// What resembles it, and the fact that decides.
    pub look_alike: &'static str,
    /// Traffic that it tells itself, while its pattern plays and while its look-alikes do: the healthy background leaves
    /// that out meanwhile.
    pub(super) owns: [&'static [Owns]; 2],
    pub(super) play: fn(&mut Stage),
}

/// Part of Beacon's traffic.
#[derive(Debug)]
pub(super) enum Owns {
    Pair(&'static Region, &'static Model),
    Region(&'static Region),
    Model(&'static Model),
    Everything,
}

impl Scenario {
    /// The scenario of this name.
    pub fn named(name: &str) -> Option<&'static Scenario> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Whether the healthy background leaves these executions to it, at that share of its time.
    pub(super) fn owns(&self, share: f64, region: &Region, model: &Model) -> bool {
        self.owns[usize::from(share >= LOOK_ALIKES_FROM)].iter().any(|owned| match owned {
            Owns::Pair(of, with) => *of == region && *with == model,
            Owns::Region(owned) => *owned == region,
            Owns::Model(owned) => *owned == model,
            Owns::Everything => true,
        })
    }
}

/// All of them, in the order in which `all` plays them.
pub static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "cold-start",
        rule: "cold-start",
        also: &["slow-vs-baseline"],
        must_not: &["cold-start"],
        shows: "a wait of seconds before modal.inference, which itself is quick: the first call to a new container",
        look_alike: "a slow network: the same wait on every call, on containers that are warm",
        owns: [&[Owns::Pair(&ASIA, &MISTRAL)], &[Owns::Pair(&EU, &MISTRAL)]],
        play: startup::cold_start,
    },
    Scenario {
        name: "model-load-failure",
        rule: "model-load-failure",
        also: &["error-origin"],
        must_not: &["model-load-failure"],
        shows: "modal.startup fails on every attempt, in every region, for one model; no inference begins",
        look_alike: "memory runs out during the inference: the container had started",
        owns: [&[Owns::Model(&QWEN)], &[Owns::Model(&QWEN)]],
        play: startup::model_load_failure,
    },
    Scenario {
        name: "queueing",
        rule: "queueing",
        also: &["slow-vs-baseline"],
        must_not: &["queueing"],
        shows: "a burst onto one container: each waits for those before it, in the order of arrival",
        look_alike: "a burst with the same waits, each call on a new container of its own: cold starts",
        owns: [&[Owns::Pair(&US, &LLAMA)], &[Owns::Pair(&EU, &LLAMA)]],
        play: startup::queueing,
    },
    Scenario {
        name: "gpu-oom",
        rule: "gpu-oom",
        also: &["error-origin"],
        must_not: &["gpu-oom"],
        shows: "long prompts end in CUDA out of memory, or the container is killed; the next call finds a new one",
        look_alike: "prompts as long that are answered; containers killed whatever the prompt's length",
        owns: [&[Owns::Pair(&US, &MISTRAL)], &[Owns::Pair(&EU, &MISTRAL)]],
        play: limits::gpu_oom,
    },
    Scenario {
        name: "context-length",
        rule: "context-length",
        also: &["error-origin"],
        must_not: &["context-length"],
        shows: "a quick 400 for prompts beyond the model's limit, on the second attempt too",
        look_alike: "a 400 as quick for a prompt of usual length",
        owns: [&[], &[]],
        play: limits::context_length,
    },
    Scenario {
        name: "rate-limit",
        rule: "rate-limit",
        also: &["error-origin"],
        must_not: &["rate-limit"],
        shows: "429 within milliseconds in one region for a while, then waits that double",
        look_alike: "the same rhythm with 503: the provider is down, nobody asked too much",
        owns: [&[Owns::Region(&EU)], &[Owns::Region(&ASIA)]],
        play: limits::rate_limit,
    },
    Scenario {
        name: "timeout",
        rule: "timeout-cap",
        also: &["slow-vs-baseline", "error-origin"],
        must_not: &["timeout-cap"],
        shows: "router.modal_call ends at 30 s sharp, modal.inference goes on and answers nobody",
        look_alike: "answers that take nearly as long, at no common length, and arrive",
        owns: [&[Owns::Pair(&US, &MISTRAL)], &[Owns::Pair(&EU, &MISTRAL)]],
        play: limits::timeout,
    },
    Scenario {
        name: "slow-decode",
        rule: "slow-decode",
        also: &["slow-vs-baseline"],
        must_not: &["slow-decode", "slow-vs-baseline"],
        shows: "modal.inference takes three times as long for as many tokens: a GPU that is shared or hot",
        look_alike: "three times as many tokens at the usual pace: longer answers",
        owns: [&[Owns::Pair(&ASIA, &LLAMA)], &[Owns::Pair(&US, &LLAMA)]],
        play: slow::slow_decode,
    },
    Scenario {
        name: "slow-vs-baseline",
        rule: "slow-vs-baseline",
        also: &[],
        must_not: &["slow-vs-baseline"],
        shows: "the router's own work takes seconds before it calls anybody, for one model",
        look_alike: "executions as long of a model that always takes so long",
        owns: [&[Owns::Model(&QWEN)], &[]],
        play: slow::slow_router,
    },
    Scenario {
        name: "db-suspend",
        rule: "db-suspend",
        also: &["slow-vs-baseline"],
        must_not: &["db-suspend"],
        shows: "the first write after a pause takes a second longer, beside the inference: nobody waited for it",
        look_alike: "the inference takes that second longer, the write is quick",
        owns: [&[], &[Owns::Pair(&US, &QWEN)]],
        play: slow::db_suspend,
    },
    Scenario {
        name: "region-outage",
        rule: "region-outage",
        also: &["error-origin", "missing-hop"],
        must_not: &["region-outage"],
        shows: "calls into one region fail for every model without reaching anybody; the router turns to another",
        look_alike: "the same failures for one model in every region",
        owns: [&[Owns::Region(&EU)], &[Owns::Model(&LLAMA)]],
        play: network::region_outage,
    },
    Scenario {
        name: "network-partition",
        rule: "network-partition",
        also: &["missing-hop", "error-origin"],
        must_not: &["network-partition"],
        shows: "router.modal_call fails after seconds in all regions, and nothing of Modal is seen",
        look_alike: "nothing of Modal is seen, but the calls succeed and take their usual time: spans were lost",
        owns: [&[Owns::Everything], &[]],
        play: network::partition,
    },
    Scenario {
        name: "reply-lost",
        rule: "reply-lost",
        also: &["network-partition", "error-origin"],
        must_not: &["reply-lost"],
        shows: "modal.inference completes, and then the router's connection breaks: the answer was lost on its way",
        look_alike: "the router gave up before the answer was there",
        owns: [&[Owns::Pair(&ASIA, &QWEN)], &[Owns::Pair(&ASIA, &QWEN)]],
        play: network::reply_lost,
    },
    Scenario {
        name: "retry-storm",
        rule: "retry-storm",
        also: &["error-origin"],
        must_not: &["retry-storm"],
        shows: "six to nine attempts an execution, while no more executions begin than before",
        look_alike: "as many calls because as many more executions begin: one attempt each",
        owns: [&[Owns::Pair(&US, &LLAMA)], &[Owns::Pair(&US, &QWEN)]],
        play: network::retry_storm,
    },
    Scenario {
        name: "missing-hop",
        rule: "missing-hop",
        also: &["lost-spans"],
        must_not: &["missing-hop", "lost-spans"],
        shows: "Modal's spans are absent for one function; its callers succeed and wait as long as ever",
        look_alike: "no inference because there was none: the call is answered from a cache at once",
        owns: [&[Owns::Pair(&ASIA, &LLAMA)], &[Owns::Pair(&US, &MISTRAL)]],
        play: telemetry::missing_hop,
    },
    Scenario {
        name: "lost-spans",
        rule: "lost-spans",
        also: &["missing-hop"],
        must_not: &["lost-spans"],
        shows: "a third of the router's spans never arrive: orphans, and gaps in runs that went well",
        look_alike: "the router refuses by itself: what is absent was never done",
        owns: [&[Owns::Everything], &[]],
        play: telemetry::lost_spans,
    },
    Scenario {
        name: "unfinished",
        rule: "unfinished",
        also: &[],
        must_not: &["unfinished"],
        shows: "the runner dies: its spans stay open though the answer was there; the execution is run again",
        look_alike: "an execution of a minute that is busy all the time, and ends",
        owns: [&[], &[]],
        play: telemetry::unfinished,
    },
    Scenario {
        name: "stuck-call",
        rule: "unfinished",
        also: &["stuck-call"],
        must_not: &["unfinished", "stuck-call"],
        shows: "modal.inference never ends, and all that wait for it stay open",
        look_alike: "an inference of a minute that ends",
        owns: [&[], &[]],
        play: telemetry::stuck_call,
    },
    Scenario {
        name: "clock-skew",
        rule: "clock-skew",
        also: &[],
        must_not: &["clock-skew"],
        shows: "modal.inference seems to start before it was called, always by as much: a clock that is behind",
        look_alike: "work that goes on after its caller ended, by a different time each run",
        owns: [&[Owns::Region(&ASIA)], &[]],
        play: telemetry::clock_skew,
    },
    Scenario {
        name: "error-origin",
        rule: "error-origin",
        also: &[],
        must_not: &["error-origin"],
        shows: "five failed spans on top of each other; the lowest says why",
        look_alike: "executions that their user cancelled",
        owns: [&[], &[]],
        play: network::error_origin,
    },
    Scenario {
        name: "n-plus-one",
        rule: "n-plus-one",
        also: &["slow-vs-baseline"],
        must_not: &["n-plus-one"],
        shows: "a workflow that fetches its documents one after the other, in a dozen queries",
        look_alike: "as many queries at the same time",
        owns: [&[], &[]],
        play: workflow::n_plus_one,
    },
    Scenario {
        name: "fan-out-stall",
        rule: "fan-out-stall",
        also: &["slow-vs-baseline"],
        must_not: &["fan-out-stall"],
        shows: "of eight shards that are searched at the same time one takes seconds, and all wait for it",
        look_alike: "all eight shards take as long",
        owns: [&[], &[]],
        play: workflow::fan_out_stall,
    },
    Scenario {
        name: "tool-error",
        rule: "error-origin",
        also: &["tool-error"],
        must_not: &["error-origin", "tool-error"],
        shows: "an agent's tool fails, and with it the workflow",
        look_alike: "a tool that finds nothing, which is an answer",
        owns: [&[], &[]],
        play: workflow::tool_error,
    },
    Scenario {
        name: "deployment-rejected",
        rule: "decision-rejected",
        also: &["error-origin"],
        must_not: &["decision-rejected", "error-origin"],
        shows: "a check fails, so planning is rejected and nothing is executed",
        look_alike: "a deployment that is skipped: the version is there already",
        owns: [&[], &[]],
        play: deployment::rejected,
    },
    Scenario {
        name: "deployment-job-failed",
        rule: "error-origin",
        also: &["job-failed"],
        must_not: &["error-origin", "job-failed"],
        shows: "the job's own trace, elsewhere, says why the rollout failed",
        look_alike: "a first rollout that times out and a second that succeeds",
        owns: [&[], &[]],
        play: deployment::job_failed,
    },
    Scenario {
        name: "deployment-stalled",
        rule: "unfinished",
        also: &["stuck-call"],
        must_not: &["unfinished", "stuck-call"],
        shows: "the external job began and was not heard of again; the deployment stays open",
        look_alike: "a rollout that takes its time, and ends",
        owns: [&[], &[]],
        play: deployment::stalled,
    },
];
