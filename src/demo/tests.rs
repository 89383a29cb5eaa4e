//! What every scenario must be, and the one fact by which its look-alikes differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::beacon::{CALL, DB, INFERENCE, MODELS, ROOT, ROUTER, STARTUP};
use super::story::{Hop, Told};
use super::*;
use crate::model::sketch::START;
use crate::model::span::Status;

const HOUR_NS: u64 = 3_600 * 1_000_000_000;

fn plan(seed: u64, healthy: u64, scenarios: Vec<&'static Scenario>) -> Plan {
    Plan { seed, from: START, length_ns: HOUR_NS, healthy, scenarios }
}

fn all() -> Vec<&'static Scenario> {
    SCENARIOS.iter().collect()
}

/// The stories of one scenario by their role.
fn stories(name: &str, role: Role) -> Vec<Story> {
    let scenario = Scenario::named(name).unwrap();
    let mut stage = Stage::new(Random::of(7, &[name]), scenario, START, 90 * 1_000_000_000, 100);
    (scenario.play)(&mut stage);
    stage.finish().0.into_iter().filter(|story| story.truth.role == role).collect()
}

fn first<'s>(story: &'s Story, operation: &'s str) -> &'s Hop {
    story.of(operation).next().unwrap_or_else(|| panic!("{operation} is not in {story:#?}"))
}

fn all_of<'s>(story: &'s Story, operation: &'s str) -> Vec<&'s Hop> {
    story.of(operation).collect()
}

/// Milliseconds between a call's start and its function's.
fn wait_ms(story: &Story) -> f64 {
    (first(story, INFERENCE).start_us - first(story, CALL).start_us) as f64 / 1e3
}

fn is_cold(story: &Story) -> bool {
    first(story, INFERENCE).attributes["cold_start"] == true
}

fn input_tokens(story: &Story) -> u64 {
    first(story, INFERENCE).attributes["gen_ai.usage.input_tokens"].as_u64().unwrap()
}

/// Milliseconds for each token of the answer, over what the model usually takes.
fn pace(story: &Story) -> f64 {
    let hop = first(story, INFERENCE);
    let model = MODELS.iter().find(|model| hop.fields["model"] == model.name).unwrap();
    hop.length_ms() / hop.results["tokens"]["output"].as_f64().unwrap() / model.ms_per_token
}

fn failed(hop: &Hop) -> bool {
    hop.status == Status::Failed && hop.error.is_some()
}

fn status_code(hop: &Hop) -> Option<u64> {
    hop.result_attributes.get("http.response.status_code")?.as_u64()
}

/// Whether any two of an operation's spans run at the same time.
fn overlap(story: &Story, operation: &str) -> bool {
    all_of(story, operation).windows(2).any(|pair| pair[1].start_us < pair[0].end_us.unwrap())
}

fn ends(story: &Story) -> bool {
    story.hops.iter().all(|hop| hop.end_us.is_some())
}

type Fact = fn(&Story) -> bool;

/// For each scenario what holds of its faults, and of its look-alikes.
const FACTS: &[(&str, Fact, Fact)] = &[
    ("cold-start", |s| wait_ms(s) > 8_000.0 && is_cold(s) && pace(s) < 2.0, |s| wait_ms(s) > 5_000.0 && !is_cold(s)),
    (
        "model-load-failure",
        |s| all_of(s, STARTUP).len() == 2 && s.of(INFERENCE).next().is_none() && failed(first(s, ROOT)),
        |s| s.of(STARTUP).next().is_none() && failed(first(s, INFERENCE)) && failed(first(s, ROOT)),
    ),
    ("queueing", |s| wait_ms(s) > 1_000.0 && !is_cold(s), |s| wait_ms(s) > 1_000.0 && is_cold(s)),
    (
        "gpu-oom",
        |s| input_tokens(s) > 5_000 && (failed(first(s, INFERENCE)) || first(s, INFERENCE).end_us.is_none()),
        |s| {
            let inference = first(s, INFERENCE);
            let answered = inference.status == Status::Completed;
            if input_tokens(s) > 5_000 { answered } else { inference.end_us.is_none() || answered && is_cold(s) }
        },
    ),
    (
        "context-length",
        |s| input_tokens(s) > 8_192 && all_of(s, INFERENCE).iter().all(|hop| status_code(hop) == Some(400)),
        |s| input_tokens(s) < 8_192 && all_of(s, INFERENCE).iter().all(|hop| status_code(hop) == Some(400)),
    ),
    (
        "rate-limit",
        |s| status_code(first(s, CALL)) == Some(429) && first(s, CALL).length_ms() < 250.0,
        |s| status_code(first(s, CALL)) == Some(503) && first(s, CALL).length_ms() < 250.0,
    ),
    (
        "timeout",
        |s| (first(s, CALL).length_ms() - 30_000.0).abs() < 0.01 && first(s, INFERENCE).end_us > first(s, CALL).end_us,
        |s| first(s, CALL).status == Status::Completed && first(s, CALL).length_ms() < 29_500.0,
    ),
    (
        "slow-decode",
        |s| pace(s) > 2.5,
        |s| pace(s) < 1.6 && first(s, INFERENCE).results["tokens"]["output"].as_u64().unwrap() > 220,
    ),
    (
        "slow-vs-baseline",
        |s| first(s, CALL).start_us - first(s, ROUTER).start_us > 1_000_000,
        |s| first(s, CALL).start_us - first(s, ROUTER).start_us < 50_000,
    ),
    (
        "db-suspend",
        |s| first(s, DB).length_ms() > 700.0 && first(s, DB).end_us < first(s, ROOT).end_us,
        |s| first(s, DB).length_ms() < 50.0 && pace(s) > 1.2,
    ),
    (
        "region-outage",
        |s| first(s, CALL).fields["region"] == "eu-west" && failed(first(s, CALL)),
        |s| first(s, CALL).fields["model"] == "llama-3.2-1b" && all_of(s, CALL).into_iter().all(failed),
    ),
    (
        "network-partition",
        |s| failed(first(s, CALL)) && s.of(INFERENCE).next().is_none(),
        |s| !failed(first(s, CALL)) && s.of(INFERENCE).any(|hop| hop.told == Told::Never),
    ),
    (
        "reply-lost",
        |s| failed(first(s, CALL)) && first(s, INFERENCE).end_us < first(s, CALL).end_us,
        |s| failed(first(s, CALL)) && first(s, INFERENCE).end_us > first(s, CALL).end_us,
    ),
    ("retry-storm", |s| all_of(s, CALL).len() >= 6, |s| all_of(s, CALL).len() == 1),
    (
        "missing-hop",
        |s| s.of(INFERENCE).any(|hop| hop.told == Told::Never) && first(s, CALL).length_ms() > 300.0,
        |s| s.of(INFERENCE).next().is_none() && !failed(first(s, CALL)) && first(s, CALL).length_ms() < 30.0,
    ),
    (
        "lost-spans",
        |s| s.hops.iter().any(|hop| hop.told == Told::Never) && !s.hops.iter().any(failed),
        |s| s.hops.iter().all(|hop| hop.told != Told::Never) && failed(first(s, ROUTER)) && s.of(CALL).next().is_none(),
    ),
    ("unfinished", |s| first(s, ROOT).end_us.is_none() && first(s, ROUTER).end_us.is_some(), ends),
    ("stuck-call", |s| first(s, INFERENCE).end_us.is_none() && first(s, ROOT).end_us.is_none(), ends),
    (
        "clock-skew",
        |s| first(s, INFERENCE).start_us + first(s, INFERENCE).clock_us < first(s, CALL).start_us,
        |s| s.hops.iter().all(|hop| hop.clock_us == 0) && s.last_us() > first(s, ROOT).end_us.unwrap(),
    ),
    (
        "error-origin",
        |s| failed(first(s, INFERENCE)) && failed(first(s, ROOT)),
        |s| s.hops.iter().filter(|hop| hop.operation != DB).all(|hop| hop.status == Status::Cancelled),
    ),
    (
        "n-plus-one",
        |s| all_of(s, "vector_search").len() >= 10 && !overlap(s, "vector_search"),
        |s| all_of(s, "vector_search").len() >= 10 && overlap(s, "vector_search"),
    ),
    (
        "fan-out-stall",
        |s| all_of(s, "vector_search").iter().filter(|hop| hop.length_ms() > 1_000.0).count() == 1,
        |s| all_of(s, "vector_search").iter().all(|hop| hop.length_ms() > 1_000.0),
    ),
    (
        "tool-error",
        |s| failed(first(s, "agent_tool_call")) && failed(&s.hops[0]),
        |s| !failed(first(s, "agent_tool_call")) && !failed(&s.hops[0]),
    ),
    (
        "deployment-rejected",
        |s| failed(first(s, "error budget")) && s.of("execution").next().is_none() && failed(&s.hops[0]),
        |s| s.hops[0].status == Status::Skipped && s.of("execution").next().is_none(),
    ),
    ("deployment-job-failed", |s| failed(&s.hops[0]), |s| !failed(&s.hops[0])),
    ("deployment-stalled", |s| s.hops[0].end_us.is_none(), ends),
];

/// Scenarios whose deciding fact is not in one trace, but in which others fail beside it.
const MANY: &[&str] = &["region-outage"];

#[test]
fn every_scenario_shows_its_pattern_and_its_look_alikes_differ_in_the_deciding_fact() {
    let names: Vec<&str> = FACTS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, SCENARIOS.iter().map(|scenario| scenario.name).collect::<Vec<_>>());
    for (name, fault, look_alike) in FACTS {
        let (faults, look_alikes) = (stories(name, Role::Fault), stories(name, Role::LookAlike));
        assert!(faults.len() >= 12 && look_alikes.len() >= 6, "{name}: {} and {}", faults.len(), look_alikes.len());
        for story in &faults {
            assert!(fault(story), "{name}: this shows something else: {story:#?}");
            assert!(MANY.contains(name) || !look_alike(story), "{name}: this passes for its look-alike: {story:#?}");
        }
        for story in &look_alikes {
            assert!(look_alike(story), "{name}: this resembles something else: {story:#?}");
            assert!(MANY.contains(name) || !fault(story), "{name}: this look-alike shows the pattern: {story:#?}");
        }
    }
}

#[test]
fn patterns_of_many_traces_hold_over_all_of_them() {
    let queue = stories("queueing", Role::Fault);
    let containers: BTreeSet<String> =
        queue.iter().map(|story| first(story, INFERENCE).attributes["container_id"].to_string()).collect();
    assert_eq!(containers.len(), 1, "one container serves all");
    assert!(queue.windows(2).all(|pair| {
        let begins = |story: &Story| story.start.plus(first(story, INFERENCE).start_us * 1_000);
        pair[0].start <= pair[1].start && begins(&pair[0]) < begins(&pair[1])
    }));
    let elsewhere: BTreeSet<String> = stories("queueing", Role::LookAlike)
        .iter()
        .map(|story| first(story, INFERENCE).attributes["container_id"].to_string())
        .collect();
    assert_eq!(elsewhere.len(), stories("queueing", Role::LookAlike).len(), "each has a container of its own");

    let models: BTreeSet<_> =
        stories("region-outage", Role::Fault).iter().filter_map(|story| story.truth.model).collect();
    assert_eq!(models.len(), 3, "a region fails for every model");
    let regions: BTreeSet<_> =
        stories("region-outage", Role::LookAlike).iter().filter_map(|story| story.truth.region).collect();
    assert_eq!(regions.len(), 3, "a model fails in every region");

    let offsets: BTreeSet<i64> =
        stories("clock-skew", Role::Fault).iter().map(|story| first(story, INFERENCE).clock_us).collect();
    assert_eq!(offsets.len(), 1, "a clock is behind by the same");
    let (faults, again) = (stories("unfinished", Role::Fault), stories("unfinished", Role::Healthy));
    for (died, again) in faults.iter().zip(&again) {
        assert_eq!(died.truth.execution_id, again.truth.execution_id, "the execution is run again");
        assert_ne!(died.trace_id, again.trace_id);
    }
}

#[test]
fn a_job_elsewhere_names_the_deployment_that_it_continues() {
    let stories = stories("deployment-job-failed", Role::Fault);
    let (engine, job): (Vec<&Story>, Vec<&Story>) = stories.iter().partition(|s| s.hops[0].operation == "reconcile");
    assert_eq!(engine.len(), job.len());
    for (engine, job) in engine.iter().zip(job) {
        assert_eq!(job.hops[0].fields["parent_trace_id"], engine.trace_id.to_string());
        assert!(job.hops[1..].iter().all(|hop| !hop.fields.contains_key("parent_trace_id")));
        assert_eq!(job.shared["job_id"], first(engine, "dispatch job").fields["job_id"]);
        assert!(job.start > engine.start);
    }
}

#[test]
fn the_same_seed_and_time_give_the_same_bytes_and_others_do_not() {
    let bytes = |plan: Plan| {
        let mut play = Play::new(plan);
        let mut text = String::new();
        for tale in play.by_ref() {
            for record in &tale.records {
                text.push_str(&format!("{} {}\n", record.at, Value::from(record.body.clone())));
            }
            text.push_str(&serde_json::to_string(&tale.truth).unwrap());
        }
        text + &serde_json::to_string(play.incidents()).unwrap()
    };
    let told = bytes(plan(7, 60, all()));
    assert!(told == bytes(plan(7, 60, all())));
    assert!(told != bytes(plan(8, 60, all())));
    assert!(told != bytes(Plan { from: START.plus(1), ..plan(7, 60, all()) }));
}

#[test]
fn traces_come_by_their_start_and_none_goes_on_for_too_long() {
    for seed in 0..5 {
        let plan = plan(seed, 100, all());
        let (from, to) = (plan.from, plan.from.plus(plan.length_ns as i64));
        let tales: Vec<Tale> = Play::new(plan).collect();
        assert!(tales.windows(2).all(|pair| pair[0].starts_at <= pair[1].starts_at));
        for Tale { truth, records, .. } in &tales {
            assert!(truth.started_at >= from, "{truth:?}");
            assert!(truth.last_at < to.plus(LONGEST_NS as i64), "{truth:?}");
            assert!(records.windows(2).all(|pair| pair[0].at <= pair[1].at));
            assert!(records.iter().all(|record| record.at <= truth.last_at.plus(1_000_000)));
        }
    }
}

#[test]
fn ids_are_unique_and_the_truth_names_only_spans_that_are_told() {
    let tales: Vec<Tale> = Play::new(plan(7, 300, all())).collect();
    let traces: BTreeSet<TraceId> = tales.iter().map(|tale| tale.trace_id).collect();
    assert_eq!(traces.len(), tales.len());
    for tale in &tales {
        let truth = &tale.truth;
        let spans: BTreeSet<SpanId> = tale.span_ids.iter().copied().collect();
        assert_eq!(spans.len(), tale.span_ids.len());
        assert!(truth.missing_span_ids.iter().all(|id| !spans.contains(id)), "{truth:?}");
        assert!(truth.culprit.iter().flat_map(|culprit| &culprit.span_ids).all(|id| spans.contains(id)), "{truth:?}");
        if truth.role == Role::Fault {
            assert!(truth.culprit.as_ref().is_some_and(|culprit| !culprit.span_ids.is_empty()), "{truth:?}");
            assert!(truth.rule.is_some() && truth.must_not.is_empty());
        }
        if truth.role == Role::LookAlike {
            assert!(!truth.must_not.is_empty());
            assert!(truth.rule.is_none_or(|rule| !truth.must_not.contains(&rule)), "{truth:?}");
            assert!(truth.also.iter().all(|rule| !truth.must_not.contains(rule)), "{truth:?}");
        }
    }
    let roles: BTreeMap<&str, usize> = tales.iter().fold(BTreeMap::new(), |mut roles, tale| {
        *roles.entry(tale.truth.scenario).or_default() += 1;
        roles
    });
    assert_eq!(roles.len(), SCENARIOS.len() + 1, "{roles:?}");
}

#[test]
fn no_record_tells_which_scenario_it_belongs_to() {
    for tale in Play::new(plan(7, 50, all())) {
        for record in &tale.records {
            let text = Value::from(record.body.clone()).to_string();
            assert!(!text.contains("scenario") && !text.contains(tale.truth.scenario), "{text}");
        }
    }
}

#[test]
fn the_background_leaves_to_a_scenario_what_is_its_own() {
    let outage = Scenario::named("region-outage").unwrap();
    let mut play = Play::new(plan(7, 2_000, vec![outage]));
    let tales: Vec<Tale> = play.by_ref().collect();
    let incident = &play.incidents()[0];
    assert!(incident.baseline_to <= incident.from && incident.fault_traces == 18 && incident.look_alike_traces == 6);
    let during = |tale: &&Tale| (incident.from..incident.to).contains(&tale.starts_at);
    let healthy = |tale: &&Tale| tale.truth.scenario == HEALTHY && tale.truth.region == Some("eu-west");
    assert_eq!(tales.iter().filter(healthy).filter(during).count(), 0);
    assert!(tales.iter().filter(healthy).count() > 200, "before and after there is traffic of the region");
}

#[test]
fn a_baseline_has_enough_of_every_region_and_model() {
    let mut seen: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    let cold = Scenario::named("cold-start").unwrap();
    let play = Play::new(plan(7, 720, vec![cold]));
    let until = play.plan.from.plus(play.baseline_ns() as i64);
    for tale in play.filter(|tale| tale.starts_at < until) {
        assert_eq!(tale.truth.role, Role::Healthy, "nothing else before the first scenario");
        if let (Some(region), Some(model)) = (tale.truth.region, tale.truth.model) {
            seen.entry((region, model)).or_default().push(tale.truth.last_at.since(tale.starts_at) as f64);
        }
    }
    assert_eq!(seen.len(), 9);
    assert!(seen.values().all(|lengths| lengths.len() >= 12), "{seen:?}");
    let mean = |region, model| seen[&(region, model)].iter().sum::<f64>() / seen[&(region, model)].len() as f64;
    assert!(mean("us-east", "mistral-7b") > 1.5 * mean("us-east", "llama-3.2-1b"), "models differ");
}

#[test]
fn each_teller_has_its_own_spelling() {
    let tales: Vec<Tale> = Play::new(plan(7, 300, Vec::new())).collect();
    let spellings = |service: &str, name: &str| -> BTreeSet<usize> {
        let records = tales.iter().flat_map(|tale| &tale.records);
        records
            .filter(|record| record.body["service"] == service)
            .filter_map(|record| record.body.get(name)?.as_str().map(str::len))
            .collect()
    };
    assert_eq!(spellings("runner", "trace_id"), [36].into());
    assert_eq!(spellings("router", "trace_id"), [32].into());
    assert_eq!(spellings("modal", "trace_id"), [16, 32].into());
    assert_eq!(spellings("router", "parent_span_id"), [16].into());
    assert!(!spellings("modal", "start_time_unix_nano").is_empty());
    for tale in &tales {
        let starts = tale.records.iter().filter(|record| !record.is_completion).count();
        assert_eq!(starts, tale.span_ids.len(), "every span is begun once: {}", tale.truth.scenario);
    }
}
