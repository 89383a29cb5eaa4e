//! LLM workflows: a question answered out of documents, by an agent with tools, its answer judged.
//!
//! ```text
//! workflow (session, user)
//! ├─ query_input · embedding · vector_search × shards · reranking
//! ├─ llm                       tokens and cost
//! │  └─ agent_tool_call        some of them
//! └─ final_output              an evaluation as its event
//! ```

use serde_json::{Map, json};

use super::random::Random;
use super::stage::{FAULTS, LOOK_ALIKES, Stage, ids};
use super::story::{Hop, Story, Tracer, micros, span_id, tokens, trace_id};
use super::truth::{Role, Truth};
use crate::model::money::usd;
use crate::model::span::SpanKind;
use crate::model::time::UnixNanos;

const SERVICE: &str = "support-bot";
const SEARCH: &str = "vector_search";
const TOOL: &str = "agent_tool_call";

/// A hosted model with its prices in 1e-12 USD a token.
struct Hosted {
    provider: &'static str,
    asked: &'static str,
    answered: &'static str,
    ms_per_token: f64,
    input_pico: i64,
    output_pico: i64,
}

const HOSTED: [Hosted; 3] = [
    Hosted {
        provider: "openai",
        asked: "gpt-4o-mini",
        answered: "gpt-4o-mini-2024-07-18",
        ms_per_token: 9.0,
        input_pico: 150_000,
        output_pico: 600_000,
    },
    Hosted {
        provider: "openai",
        asked: "gpt-4o",
        answered: "gpt-4o-2024-08-06",
        ms_per_token: 14.0,
        input_pico: 2_500_000,
        output_pico: 10_000_000,
    },
    Hosted {
        provider: "anthropic",
        asked: "claude-3-5-haiku-latest",
        answered: "claude-3-5-haiku-20241022",
        ms_per_token: 12.0,
        input_pico: 800_000,
        output_pico: 4_000_000,
    },
];

const QUESTIONS: [&str; 5] = [
    "How do I change the colour of my desk lamp?",
    "Where can I see my last order?",
    "Does the blue kettle come with a warranty?",
    "How do I invite a colleague to my workspace?",
    "What are the opening hours on Saturday?",
];

/// How the next workflow fetches and acts.
struct Shape {
    /// Length of each search, in milliseconds.
    searches: Vec<f64>,
    /// One after the other; otherwise all at the same time.
    in_sequence: bool,
    tool: Option<Tool>,
}

#[derive(Clone, Copy, PartialEq)]
enum Tool {
    Useful,
    FindsNothing,
    Fails,
}

impl Shape {
    fn healthy(random: &mut Random) -> Self {
        let searches = (0..1 + random.below(3)).map(|_| random.log_normal(38.0, 0.25)).collect();
        let tool = random.chance(0.3).then_some(Tool::Useful);
        Self { searches, in_sequence: false, tool }
    }
}

/// A workflow as it usually goes.
pub(super) fn healthy(random: &mut Random, scenario: &'static str, start: UnixNanos) -> Story {
    let shape = Shape::healthy(random);
    tell(random, scenario, start, &shape)
}

/// A query for each document, one after the other; or all at once.
pub(super) fn n_plus_one(stage: &mut Stage) {
    let queries = |stage: &mut Stage| -> Vec<f64> {
        (0..10 + stage.random.below(6)).map(|_| stage.random.log_normal(38.0, 0.03)).collect()
    };
    for at in stage.spread(FAULTS) {
        let shape = Shape { searches: queries(stage), in_sequence: true, tool: None };
        let story = on(stage, at, &shape);
        let culprits = ids(&story, SEARCH);
        stage.fault(story, &culprits, "the same query a dozen times, each after the one before");
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        let shape = Shape { searches: queries(stage), in_sequence: false, tool: None };
        let story = on(stage, at, &shape);
        stage.look_alike(story, None, &[], "as many queries, but they run at the same time");
    }
}

/// One of eight shards stalls; or all of them are slow.
pub(super) fn fan_out_stall(stage: &mut Stage) {
    for at in stage.spread(FAULTS) {
        let mut searches: Vec<f64> = (0..8).map(|_| stage.random.log_normal(38.0, 0.15)).collect();
        let stalled = stage.random.below(8);
        searches[stalled] = stage.random.between(2_200.0, 4_000.0);
        let story = on(stage, at, &Shape { searches, in_sequence: false, tool: None });
        let culprits: Vec<_> = story.of(SEARCH).filter(|hop| hop.length_ms() > 1_000.0).map(|hop| hop.id).collect();
        stage.fault(story, &culprits, "seven shards are done long before the eighth");
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        let all = stage.random.between(2_200.0, 4_000.0);
        let searches = (0..8).map(|_| all * stage.random.log_normal(1.0, 0.04)).collect();
        let story = on(stage, at, &Shape { searches, in_sequence: false, tool: None });
        let culprits = ids(&story, SEARCH);
        stage.look_alike(story, Some("slow-vs-baseline"), &culprits, "all shards take as long: none is a straggler");
    }
}

/// A tool that fails; or one that finds nothing.
pub(super) fn tool_error(stage: &mut Stage) {
    for at in stage.spread(FAULTS) {
        let mut shape = Shape::healthy(&mut stage.random);
        shape.tool = Some(Tool::Fails);
        let story = on(stage, at, &shape);
        let culprits = ids(&story, TOOL);
        stage.fault(story, &culprits, "the tool's failure is the lowest");
    }
    for at in stage.spread_late(LOOK_ALIKES) {
        let mut shape = Shape::healthy(&mut stage.random);
        shape.tool = Some(Tool::FindsNothing);
        let story = on(stage, at, &shape);
        stage.look_alike(story, None, &[], "the tool answers that there is nothing");
    }
}

fn on(stage: &mut Stage, at: UnixNanos, shape: &Shape) -> Story {
    let name = stage.name();
    tell(&mut stage.random, name, at, shape)
}

/// Lays a workflow out in time.
fn tell(random: &mut Random, scenario: &'static str, start: UnixNanos, shape: &Shape) -> Story {
    let trace_id = trace_id(random, false);
    let question = *random.pick(&QUESTIONS);
    let hosted = random.pick(&HOSTED);
    let mut hops = vec![
        step(random, None, "Support answer", "workflow", 0.0, 1.0)
            .field("inputs", json!({"query": question}))
            .attribute("demo", true)
            .attribute("workflow_version", 12),
    ];
    let mut at_ms = random.between(0.5, 2.0);
    hops.push(step(random, hops.first(), "query_input", "query_input", at_ms, 0.8).once());
    at_ms += 1.5;
    let embedding = random.log_normal(74.0, 0.2);
    let embed = step(random, hops.first(), "embedding", "embedding", at_ms, embedding)
        .field("model", "text-embedding-3-small")
        .field("provider", "openai")
        .result("tokens", tokens(11, 0))
        .result("cost_usd", usd(11 * 20_000));
    hops.push(embed.once());
    at_ms = last(&hops) + 1.0;

    for (number, length_ms) in shape.searches.iter().enumerate() {
        let found = random.between(0.55, 0.95);
        let documents = json!([{"id": format!("doc-{}", random.below(400)), "score": (found * 1e4).round() / 1e4}]);
        let search = step(random, hops.first(), SEARCH, "vector_search", at_ms, *length_ms)
            .field("inputs", json!({"top_k": 5, "index": "kb-demo", "part": number}))
            .result("outputs", documents)
            .attribute("db.system.name", "qdrant");
        hops.push(search.once());
        at_ms = if shape.in_sequence { last(&hops) + random.between(0.4, 0.9) } else { at_ms + 0.3 };
    }
    at_ms = last(&hops) + 1.0;
    let reranking = random.log_normal(120.0, 0.2);
    hops.push(step(random, hops.first(), "reranking", "reranking", at_ms, reranking).once());
    at_ms = last(&hops) + 2.0;

    let failure = generate(random, &mut hops, hosted, shape.tool, at_ms);
    at_ms = last(&hops) + 1.0;
    if failure.is_none() {
        let score = (random.between(0.82, 0.98) * 100.0).round() / 100.0;
        let mut output = step(random, hops.first(), "final_output", "final_output", at_ms, 1.2);
        let judged = json!({"gen_ai.evaluation.name": "groundedness", "gen_ai.evaluation.score.value": score,
                            "gen_ai.evaluation.score.label": "pass"});
        output.events.push(("gen_ai.evaluation.result", micros(at_ms + 1.0), judged));
        hops.push(output.once());
        at_ms += 1.5;
    }
    hops[0].end_us = Some(micros(at_ms + random.between(0.5, 2.0)));
    match failure {
        Some(message) => hops[0].fail("WorkflowError", &message),
        None => hops[0] = hops[0].clone().result("outputs", json!({"answer": "A synthetic answer."})),
    }

    let execution_id = format!("wf-{:012x}", random.next() >> 16);
    let mut shared = Map::new();
    shared.insert("execution_id".into(), execution_id.as_str().into());
    shared.insert("workflow_id".into(), "wf_support_rag".into());
    shared.insert("session_id".into(), format!("demo-chat-{}", random.below(60)).into());
    shared.insert("user_id".into(), format!("demo-user-{}", random.below(25)).into());
    let truth = Truth {
        scenario,
        role: Role::Healthy,
        trace_id,
        execution_id: Some(execution_id),
        rule: None,
        also: &[],
        must_not: &[],
        culprit: None,
        region: None,
        model: Some(hosted.answered),
        missing_span_ids: Vec::new(),
        started_at: start,
        last_at: start,
        why: "nothing is wrong",
    };
    Story { trace_id, start, shared, hops, truth }
}

/// The model's calls: one, or one that asks for a tool and one that uses what it said. The message of what failed.
fn generate(
    random: &mut Random,
    hops: &mut Vec<Hop>,
    hosted: &Hosted,
    tool: Option<Tool>,
    at_ms: f64,
) -> Option<String> {
    let Some(tool) = tool else {
        let output = random.log_normal(210.0, 0.3);
        llm(random, hops, hosted, at_ms, output as u32);
        return None;
    };
    llm(random, hops, hosted, at_ms, 32);
    let length_ms = random.log_normal(180.0, 0.3);
    let mut call = step(random, hops.first(), TOOL, "agent_tool_call", last(hops) + 1.0, length_ms)
        .field("inputs", json!({"tool": "look_up_order", "order": "DEMO-1001"}))
        .attribute("gen_ai.tool.name", "look_up_order");
    if tool == Tool::Fails {
        call.fail("ToolError", "look_up_order: 500 from orders.internal");
        hops.push(call);
        return Some("the tool look_up_order failed".to_owned());
    }
    let found = if tool == Tool::FindsNothing { json!([]) } else { json!([{"order": "DEMO-1001", "state": "sent"}]) };
    hops.push(call.result("outputs", found));
    let at_ms = last(hops) + 1.0;
    let output = random.log_normal(160.0, 0.3);
    llm(random, hops, hosted, at_ms, output as u32);
    None
}

/// One call of a model, with what it used and cost.
fn llm(random: &mut Random, hops: &mut Vec<Hop>, hosted: &Hosted, at_ms: f64, output: u32) {
    let input = random.log_normal(1_450.0, 0.2) as u32;
    let first_token = random.log_normal(320.0, 0.2);
    let length_ms = first_token + f64::from(output) * hosted.ms_per_token * random.log_normal(1.0, 0.06);
    let cost = i64::from(input) * hosted.input_pico + i64::from(output) * hosted.output_pico;
    let mut call = step(random, hops.first(), "llm", "llm", at_ms, length_ms)
        .field("request_model", hosted.asked)
        .field("provider", hosted.provider)
        .field("inputs", json!({"messages": [{"role": "user", "content": "A synthetic prompt."}]}))
        .result("model", hosted.answered)
        .result("tokens", json!({"prompt": input, "completion": output, "total": input + output}))
        .result("cost_usd", usd(cost))
        .result("outputs", json!({"content": format!("A synthetic answer of {output} tokens.")}))
        .attribute("temperature", 0.2)
        .result_attribute("finish_reason", "stop");
    call.kind = SpanKind::Client;
    call.events.push(("first_token", micros(at_ms + first_token), json!({})));
    hops.push(call);
}

fn step(random: &mut Random, root: Option<&Hop>, operation: &str, span_type: &str, at_ms: f64, length_ms: f64) -> Hop {
    let hop = Hop::new(span_id(random, true), Tracer::Workflow, SERVICE, operation, at_ms, length_ms)
        .field("span_type", span_type);
    match root {
        Some(root) => hop.below(root, SpanKind::Internal),
        None => hop,
    }
}

/// When the last of them ends, in milliseconds.
fn last(hops: &[Hop]) -> f64 {
    // The root's end is not known yet.
    hops.iter().skip(1).map(Hop::end_ms).fold(0.0, f64::max)
}
