//! Beacon's inference pipeline: three regions, three models, and how one execution runs through runner, router and Modal.
//!
//! ```text
//! runner  execute_question
//!         ├─ db.write_span                  beside the rest
//!         └─ hybrid_router_call             client
//! router     └─ router.inference_request    server
//!               └─ router.modal_call        client; one for each attempt
//! modal            ├─ modal.startup         only where a container's start is told of
//!                  └─ modal.inference       server
//! ```
//!
//! A [`Run`] says what the next execution is like; scenarios change it, and [`tell`] lays it out in time.

use serde_json::{Map, json};

use super::random::Random;
use super::story::{Hop, Story, Tracer, span_id, tokens, trace_id};
use super::truth::{Role, Truth};
use crate::model::span::SpanKind;
use crate::model::time::UnixNanos;

pub(super) const ROOT: &str = "execute_question";
pub(super) const DB: &str = "db.write_span";
pub(super) const HYBRID: &str = "hybrid_router_call";
pub(super) const ROUTER: &str = "router.inference_request";
pub(super) const CALL: &str = "router.modal_call";
pub(super) const STARTUP: &str = "modal.startup";
pub(super) const INFERENCE: &str = "modal.inference";

/// Where functions run, as seen from the router in us-east.
#[derive(Debug, PartialEq)]
pub(super) struct Region {
    pub name: &'static str,
    /// One way.
    pub network_ms: f64,
    /// Time there over time in us-east, of the same work.
    pub pace: f64,
    pub gpu: &'static str,
}

#[derive(Debug, PartialEq)]
pub(super) struct Model {
    pub name: &'static str,
    pub ms_per_token: f64,
    pub context_limit: u32,
}

pub(super) static US: Region = Region { name: "us-east", network_ms: 4.0, pace: 1.0, gpu: "A10G" };
pub(super) static EU: Region = Region { name: "eu-west", network_ms: 42.0, pace: 1.06, gpu: "A10G" };
pub(super) static ASIA: Region = Region { name: "asia-pacific", network_ms: 95.0, pace: 1.15, gpu: "L4" };
pub(super) static REGIONS: [&Region; 3] = [&US, &EU, &ASIA];

pub(super) static LLAMA: Model = Model { name: "llama-3.2-1b", ms_per_token: 8.5, context_limit: 8_192 };
pub(super) static QWEN: Model = Model { name: "qwen2.5-1.5b", ms_per_token: 11.0, context_limit: 8_192 };
pub(super) static MISTRAL: Model = Model { name: "mistral-7b", ms_per_token: 23.0, context_limit: 8_192 };
pub(super) static MODELS: [&Model; 3] = [&LLAMA, &QWEN, &MISTRAL];

/// Harmless questions, by their ids.
const QUESTIONS: [(&str, &str); 8] = [
    ("geo_capital", "What is the capital of Portugal?"),
    ("math_sum", "What is 17 plus 25?"),
    ("sky_blue", "Why does the sky look blue at noon?"),
    ("bread", "How long does bread dough have to rise?"),
    ("rainbow", "In which order are the colours of a rainbow?"),
    ("bicycle", "How does a bicycle stay upright?"),
    ("tea", "How hot should the water for green tea be?"),
    ("leap_year", "How do I know whether a year is a leap year?"),
];

/// One try of the router to have a question answered.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub region: &'static Region,
    pub container: String,
    /// How long its container took to start, where this is the first call to it.
    pub cold_ms: Option<f64>,
    /// One way.
    pub network_ms: f64,
    /// Between the call's arrival and the function's first instant: start and queue.
    pub wait_ms: f64,
    /// In the function; where none runs, until the refusal.
    pub run_ms: f64,
    pub input_tokens: u32,
    pub output_tokens: u32,
    pub ending: Ending,
    /// Before the next one.
    pub backoff_ms: f64,
}

/// How an attempt ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ending {
    Answered,
    /// The function fails, and says so with this status.
    Failed {
        kind: &'static str,
        message: String,
        status: u16,
    },
    /// No function runs: refused at the door with a status, or by the network without one.
    Refused {
        kind: &'static str,
        message: String,
        status: Option<u16>,
    },
    /// The container fails while it starts, after `run_ms`: no inference.
    NeverStarted {
        kind: &'static str,
        message: String,
    },
    /// The function is killed after `run_ms` and says nothing more; the gateway notices.
    Killed,
    /// The router gives up after so long; the function knows nothing of it.
    GivenUp {
        after_ms: f64,
    },
    /// The function answers, and the answer does not arrive: so long after it the router's connection breaks.
    ReplyLost {
        after_ms: f64,
    },
}

/// What the next execution is like.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub region: &'static Region,
    pub model: &'static Model,
    /// Never empty.
    pub attempts: Vec<Attempt>,
    /// The router's own work before the first attempt.
    pub prepare_ms: f64,
    /// The runner's note of the execution in its database.
    pub db_ms: f64,
}

impl Attempt {
    /// A call as it usually goes, on one of three warm containers.
    pub fn healthy(random: &mut Random, region: &'static Region, model: &'static Model) -> Self {
        let mut attempt = Self {
            region,
            container: container(region, model, random.below(3) as u64),
            cold_ms: None,
            network_ms: random.log_normal(region.network_ms, 0.06),
            wait_ms: random.log_normal(6.0, 0.3),
            run_ms: 0.0,
            input_tokens: random.log_normal(320.0, 0.3) as u32,
            output_tokens: random.log_normal(180.0, 0.3) as u32,
            ending: Ending::Answered,
            backoff_ms: 0.0,
        };
        attempt.run_ms = attempt.usual_ms(model) * random.log_normal(1.0, 0.05);
        attempt
    }

    /// What its tokens usually take: reading them, then writing one after the other.
    pub fn usual_ms(&self, model: &Model) -> f64 {
        let reading = 60.0 + f64::from(self.input_tokens) * model.ms_per_token / 80.0;
        (reading + f64::from(self.output_tokens) * model.ms_per_token) * self.region.pace
    }

    /// Has to wait for a container of its own.
    pub fn start_cold(&mut self, random: &mut Random, model: &Model, start_ms: f64) {
        self.container = container(self.region, model, random.next() | 8);
        self.cold_ms = Some(start_ms);
        self.wait_ms += start_ms;
    }
}

impl Run {
    /// One attempt, nothing odd.
    pub fn healthy(random: &mut Random, region: &'static Region, model: &'static Model) -> Self {
        Self {
            region,
            model,
            attempts: vec![Attempt::healthy(random, region, model)],
            prepare_ms: random.log_normal(5.0, 0.25),
            db_ms: random.log_normal(6.0, 0.25),
        }
    }

    /// Its first attempt.
    pub fn first(&mut self) -> &mut Attempt {
        &mut self.attempts[0]
    }
}

/// The id of a container, in Modal's looks.
fn container(region: &Region, model: &Model, number: u64) -> String {
    let id = Random::of(number, &["container", region.name, model.name]).next();
    format!("ta-01{:0>12}", radix_36(id >> 4).to_uppercase())
}

fn radix_36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 {
        digits.push(char::from_digit((number % 36) as u32, 36).unwrap_or('0'));
        number /= 36;
    }
    digits.iter().rev().collect()
}

/// Lays a run out in time.
pub(super) fn tell(random: &mut Random, scenario: &'static str, start: UnixNanos, execution: u64, run: &Run) -> Story {
    let short = random.chance(1.0 / 3.0);
    let trace_id = trace_id(random, short);
    let (question_id, question) = *random.pick(&QUESTIONS);

    let mut root = Hop::new(span_id(random, true), Tracer::Runner, "runner", ROOT, 0.0, 0.0)
        .field("inputs", question)
        .field("question_id", question_id)
        .attribute("demo", true)
        .attribute("runner.version", "1.18.2");
    let db = Hop::new(span_id(random, true), Tracer::Runner, "runner", DB, random.between(0.4, 1.2), run.db_ms)
        .below(&root, SpanKind::Client)
        .attribute("db.system.name", "postgresql")
        .attribute("db.operation.name", "INSERT")
        .attribute("peer.service", "postgres")
        .once();
    let mut hybrid = Hop::new(span_id(random, true), Tracer::Runner, "runner", HYBRID, random.between(2.0, 6.0), 0.0)
        .below(&root, SpanKind::Client)
        .attribute("peer.service", "router");
    let to_router = random.log_normal(1.6, 0.2);
    let received_ms = hybrid.start_us as f64 / 1_000.0 + to_router;
    let mut router = Hop::new(span_id(random, false), Tracer::Router, "router", ROUTER, received_ms, 0.0)
        .below(&hybrid, SpanKind::Server)
        .attribute("http.route", "/inference");

    let mut calls = Vec::new();
    let mut at_ms = received_ms + run.prepare_ms;
    let mut last_error = None;
    for (number, attempt) in run.attempts.iter().enumerate() {
        let told = call(random, &router, run.model, attempt, number, at_ms);
        at_ms = told[0].end_ms() + attempt.backoff_ms;
        last_error = told[0].error.clone();
        calls.extend(told);
    }
    let last = run.attempts.last();
    end(&mut router, at_ms + random.between(1.0, 4.0));
    end(&mut hybrid, router.end_ms() + to_router);
    end(&mut root, hybrid.end_ms() + random.between(2.0, 6.0));
    match last_error {
        Some((kind, message)) => {
            router.fail(&kind, &format!("{} of {} attempts failed: {message}", run.attempts.len(), run.attempts.len()));
            router = router.result_attribute("http.response.status_code", 502);
            hybrid.fail("RouterError", "router answered 502");
            hybrid = hybrid.result_attribute("http.response.status_code", 502);
            root.fail("ExecutionError", &format!("question {question_id} was not answered in {}", run.region.name));
        }
        None => {
            router = router.result_attribute("http.response.status_code", 200);
            hybrid = hybrid.result_attribute("http.response.status_code", 200);
            root = root.result("outputs", answer(last.map_or(0, |attempt| attempt.output_tokens)));
        }
    }

    let mut hops = vec![root, db, hybrid, router];
    hops.extend(calls);
    let mut shared = Map::new();
    shared.insert("execution_id".into(), execution.into());
    shared.insert("job_id".into(), job(start).into());
    for hop in &mut hops {
        // A call says itself which region it goes to.
        hop.fields.entry("region").or_insert(run.region.name.into());
        hop.fields.insert("model".into(), run.model.name.into());
    }
    let truth = Truth {
        scenario,
        role: Role::Healthy,
        trace_id,
        execution_id: Some(execution.to_string()),
        rule: None,
        also: &[],
        must_not: &[],
        culprit: None,
        region: Some(run.region.name),
        model: Some(run.model.name),
        missing_span_ids: Vec::new(),
        started_at: start,
        last_at: start,
        why: "nothing is wrong",
    };
    Story { trace_id, start, shared, hops, truth }
}

/// Moves the end of a span to `at_ms` after the story's start.
pub(super) fn end(hop: &mut Hop, at_ms: f64) {
    hop.end_us = Some(super::story::micros(at_ms).max(hop.start_us + 1));
}

/// The client's span of one attempt, then what the function tells.
fn call(random: &mut Random, router: &Hop, model: &Model, attempt: &Attempt, number: usize, at_ms: f64) -> Vec<Hop> {
    let region = attempt.region;
    let mut call = Hop::new(span_id(random, false), Tracer::Router, "router", CALL, at_ms, 0.0)
        .below(router, SpanKind::Client)
        .field("region", region.name)
        .field("provider", "modal")
        .attribute("attempt", number + 1)
        .attribute("peer.service", "modal")
        .attribute("modal.function_call_id", format!("fc-01{:0>14}", radix_36(random.next()).to_uppercase()));
    if number > 0 {
        call = call.field("retry_count", number);
    }
    let arrives_ms = at_ms + attempt.network_ms;
    let begins_ms = arrives_ms + attempt.wait_ms;
    let ends_ms = begins_ms + attempt.run_ms;
    let back_ms = attempt.network_ms + random.between(0.3, 1.0);
    let mut server = inference(random, &call, attempt, begins_ms, arrives_ms);
    let server = match &attempt.ending {
        Ending::Answered => {
            end(&mut call, ends_ms + back_ms);
            call = call.result_attribute("http.response.status_code", 200);
            Some(answered(server, attempt, model))
        }
        Ending::Failed { kind, message, status } => {
            end(&mut call, ends_ms + back_ms);
            call.fail("ProviderError", &format!("modal answered {status}: {message}"));
            call = call.result_attribute("http.response.status_code", *status);
            server.fail(kind, message);
            Some(server.result_attribute("http.response.status_code", *status))
        }
        Ending::Refused { kind, message, status } => {
            end(&mut call, at_ms + attempt.run_ms + 2.0 * attempt.network_ms);
            call.fail(kind, message);
            if let Some(status) = status {
                call = call.result_attribute("http.response.status_code", *status);
            }
            None
        }
        Ending::NeverStarted { kind, message } => {
            end(&mut call, arrives_ms + attempt.run_ms + back_ms);
            call.fail("ProviderError", "modal answered 500: the container did not start");
            call = call.result_attribute("http.response.status_code", 500);
            Some(startup(random, &call, attempt, arrives_ms, kind, message))
        }
        Ending::Killed => {
            end(&mut call, ends_ms + back_ms + random.between(80.0, 250.0));
            call.fail("ProviderError", "modal answered 500: the container was terminated");
            call = call.result_attribute("http.response.status_code", 500);
            server.never_ends();
            Some(server)
        }
        Ending::GivenUp { after_ms } => {
            end(&mut call, at_ms + after_ms);
            call.fail("TimeoutError", &format!("no answer from modal within {:.0} s", after_ms / 1_000.0));
            Some(answered(server, attempt, model))
        }
        Ending::ReplyLost { after_ms } => {
            end(&mut call, ends_ms + after_ms);
            call.fail("ConnectionError", "connection reset by peer while reading the answer");
            Some(answered(server, attempt, model))
        }
    };
    std::iter::once(call).chain(server).collect()
}

fn inference(random: &mut Random, call: &Hop, attempt: &Attempt, begins_ms: f64, arrives_ms: f64) -> Hop {
    let mut hop = Hop::new(span_id(random, false), Tracer::Modal, "modal", INFERENCE, begins_ms, attempt.run_ms)
        .below(call, SpanKind::Server)
        .field("region", attempt.region.name)
        .field("provider", "modal")
        .attribute("container_id", attempt.container.as_str())
        .attribute("cold_start", attempt.cold_ms.is_some())
        .attribute("gpu", attempt.region.gpu)
        .attribute("gen_ai.usage.input_tokens", attempt.input_tokens)
        .attribute("modal.queued_ms", rounded(begins_ms - arrives_ms));
    if let Some(cold_ms) = attempt.cold_ms {
        hop = hop.attribute("cold_start_ms", rounded(cold_ms));
    }
    hop
}

fn answered(server: Hop, attempt: &Attempt, model: &Model) -> Hop {
    server
        .result("tokens", tokens(attempt.input_tokens, attempt.output_tokens))
        .result("outputs", answer(attempt.output_tokens))
        .result_attribute("http.response.status_code", 200)
        .result_attribute("gen_ai.response.model", model.name)
}

fn startup(random: &mut Random, call: &Hop, attempt: &Attempt, at_ms: f64, kind: &str, message: &str) -> Hop {
    let mut hop = Hop::new(span_id(random, false), Tracer::Modal, "modal", STARTUP, at_ms + 1.0, attempt.run_ms - 1.0)
        .below(call, SpanKind::Server)
        .field("region", attempt.region.name)
        .field("provider", "modal")
        .attribute("container_id", attempt.container.as_str())
        .attribute("cold_start", true)
        .attribute("gpu", attempt.region.gpu);
    hop.fail(kind, message);
    hop
}

fn answer(tokens: u32) -> String {
    format!("A synthetic answer of {tokens} tokens.")
}

/// Tenths of a millisecond are enough for an attribute.
fn rounded(ms: f64) -> serde_json::Value {
    json!((ms * 10.0).round() / 10.0)
}

/// A job asks its questions for ten minutes.
fn job(start: UnixNanos) -> String {
    let seconds = start.as_u64() / 1_000_000_000;
    format!("demo-survey-{}", seconds - seconds % 600)
}
