//! The client recipes of docs/clients: what a traced call costs its caller, and that nothing else changes, whatever the
//! server does. The programs of tests/clients measure themselves and print one line of JSON; here they get their servers.

mod away;
mod languages;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Mutex;

use self::away::{Away, Fault};
use self::languages::{Program, go, python, typescript};
use crate::support::binary::Server;
use crate::support::{client, json};

const KEY: &str = "tf-a-key-that-nobody-may-see";
const CALLS: &str = "2000";
/// What the clients promise of their caller's time, in microseconds.
const P99_US: f64 = 5_000.0;
/// Spans that a client may hold while its server is away.
const MAX_SPANS: u64 = 500;

const HEALTHY: &str = "healthy";
/// More than any program records.
const ENOUGH: &str = "5000";

/// Timing tests, so one at a time; other tests may run beside them.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn the_go_client_costs_its_caller_little_and_changes_nothing() {
    if let Some(program) = go("driver") {
        harms_nobody("Go", &program.with(&[CALLS]), &Recipe::ends_within(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_costs_its_caller_little_and_changes_nothing() {
    if let Some(program) = python("driver.py") {
        harms_nobody("Python", &program.with(&["plain", CALLS]), &Recipe::ends_within(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_modal_recipe_costs_its_caller_little_and_its_exit_almost_nothing() {
    if let Some(program) = python("driver.py") {
        let recipe = Recipe { sends_before_its_end: true, ..Recipe::ends_within(1) };
        harms_nobody("Modal", &program.with(&["modal", CALLS]), &recipe).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_client_costs_its_caller_little_and_changes_nothing() {
    if let Some(program) = typescript("driver") {
        harms_nobody("TypeScript", &program.with(&[CALLS]), &Recipe::ends_within(5)).await;
    }
}

/// What a client promises of the end of its program.
struct Recipe {
    /// How long the program may take to end.
    exit: Duration,
    /// That end may be too short for what is still to be sent: its spans are counted once it has sent them.
    sends_before_its_end: bool,
}

impl Recipe {
    fn ends_within(seconds: u64) -> Self {
        Self { exit: Duration::from_secs(seconds), sends_before_its_end: false }
    }
}

/// The program, given the most spans to hold, against every server.
async fn harms_nobody(name: &str, program: &Program, recipe: &Recipe) {
    let _alone = ALONE.lock().await;

    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let told = quick_enough(name, HEALTHY, program, ENOUGH, &server.url(""), recipe);
    assert_eq!(told["dropped"], 0, "{told}");
    let spans = all_spans(&server, &told).await;
    assert!(spans.iter().all(|span| span["completed_at"].is_string()), "announced spans are completed");
    let roots = spans.iter().filter(|span| span["parent_span_id"].is_null()).count();
    assert_eq!(roots, 1, "all others are children");

    for fault in [Fault::Refused, Fault::Silent, Fault::Unavailable] {
        let away = Away::start(fault, KEY);
        let limit = MAX_SPANS.to_string();
        let told = quick_enough(name, &format!("{fault:?}"), program, &limit, &away.url(), recipe);
        let count = |name: &str| told[name].as_u64().unwrap();
        assert!(count("most_queued") <= MAX_SPANS && count("queued") <= MAX_SPANS, "{told}");
        assert!(count("queued_bytes") <= 8 << 20, "{told}");
        assert_eq!(count("recorded"), count("dropped") + count("queued"), "what is not held is counted: {told}");
        let (requests, with_key) = away.requests();
        assert_eq!(requests, with_key, "every request carries the key");
        assert_eq!(requests > 0, fault == Fault::Unavailable);
        assert!(requests <= 6 * 5, "{requests} requests: a server that is away is asked once in a while");
    }

    let away = Away::start(Fault::Returning, KEY);
    let (told, _) = run(traced(&mut program.with(&[ENOUGH]).command(), &away.url()).env("DRAIN", "1"));
    assert_eq!((&told["sent"], &told["dropped"]), (&told["recorded"], &0.into()), "nothing is lost meanwhile: {told}");
    assert_eq!(away.spans(), told["spans"].as_u64().unwrap(), "{told}, {}", away.taken());

    let unasked = Away::start(Fault::Silent, KEY);
    let (told, _) = run(program.with(&["0"]).command().env("TRACEFALL_URL", unasked.url()));
    assert_eq!(told["same"], true, "{told}");
    assert_eq!((&told["recorded"], &told["threads"]), (&0.into(), &0.into()), "it is off unless asked for: {told}");
    assert_eq!(unasked.connections(), 0);
}

/// The report of the first of six runs that keeps what is promised of time: other programs run on this machine too. What
/// is promised beside time holds in each.
fn quick_enough(name: &str, server: &str, program: &Program, limit: &str, url: &str, recipe: &Recipe) -> Value {
    let mut seen = String::new();
    for _ in 0..6 {
        let mut command = program.with(&[limit]).command();
        if recipe.sends_before_its_end && server == HEALTHY {
            command.env("DRAIN", "1");
        }
        let (told, ended) = run(traced(&mut command, url));
        assert_eq!(told["same"], true, "{name}, {server}: a result changed: {told}");
        let [p50, p99, max] = ["p50_us", "p99_us", "max_us"].map(|name| told[name].as_f64().unwrap());
        let line =
            format!("{name}, {server}: p50 {p50:.1} us, p99 {p99:.0} us, max {max:.0} us, ended after {ended:.0?}");
        println!("{line}");
        if p99 < P99_US && ended < recipe.exit {
            return told;
        }
        seen = seen + "\n" + &line;
    }
    panic!("a traced call is to take {P99_US} us, and the end {:?}:{seen}", recipe.exit);
}

fn traced<'c>(command: &'c mut Command, url: &str) -> &'c mut Command {
    command.envs([("ENABLE_DB_TRACING", "true"), ("TRACEFALL_URL", url), ("TRACEFALL_KEY", KEY)])
}

/// Runs a program to its end: what it told, and how long it took to end after that.
pub fn run(command: &mut Command) -> (Value, Duration) {
    let mut child = Ended(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut errors = child.0.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).map(|_| text)
    });
    let line = first_line(&mut child.0);
    let told = Instant::now();
    let status = child.0.wait().unwrap();
    let ended = told.elapsed();
    let errors = errors.join().unwrap().unwrap();
    assert!(status.success(), "{command:?}: {status}\n{line}\n{errors}");
    assert!(!errors.contains(KEY) && !line.contains(KEY), "a key is shown");
    (serde_json::from_str(&line).unwrap_or(Value::String(line)), ended)
}

pub fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// A child that is ended with its test.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The spans of the trace that a program told of, when all have arrived; each is there once.
async fn all_spans(server: &Server, told: &Value) -> Vec<Value> {
    let wanted = usize::try_from(told["spans"].as_u64().unwrap()).unwrap();
    let path = format!("/v1/traces/{}", told["trace_id"].as_str().unwrap());
    let trace =
        read_until(server, &path, |trace| trace["spans"].as_array().is_some_and(|spans| spans.len() >= wanted)).await;
    let spans = trace["spans"].as_array().unwrap().clone();
    let ids: HashSet<&str> = spans.iter().map(|span| span["span_id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), spans.len()), (wanted, wanted));
    spans
}

async fn read_until(server: &Server, path: &str, enough: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (_, answer) = json(client().get(server.url(path))).await;
        if enough(&answer) {
            return answer;
        }
        let shown: String = answer.to_string().chars().take(2000).collect();
        assert!(Instant::now() < deadline, "{path} did not become what it should: {shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_one_tree_from_the_go_runner_over_the_python_router_to_modal() {
    let (Some(runner), Some(router), Some(modal)) = (go("runner"), python("router.py"), python("modal_endpoint.py"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let start = |program: &Program, next: &str| {
        let mut command = program.command();
        traced(&mut command, &server.url("")).env("MODAL_URL", next).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Ended(command.spawn().unwrap());
        let url = format!("http://127.0.0.1:{}/infer", first_line(&mut child.0));
        (child, url)
    };
    let (_modal, modal_url) = start(&modal, "");
    let (mut router, router_url) = start(&router, &modal_url);
    let (told, _) = run(traced(&mut runner.command(), &server.url("")).env("ROUTER_URL", &router_url));
    let told = told.as_str().unwrap();
    assert!(told.contains(r#"{"router": {"text": "HELLO"}}"#) && told.ends_with("<nil>"), "{told}");

    let path = "/v1/executions/123/waterfall";
    let waterfall = read_until(&server, path, |answer| {
        let rows = answer["rows"].as_array();
        rows.is_some_and(|rows| rows.len() == 5 && rows.iter().all(|row| row["status"] == "completed"))
    });
    let waterfall = waterfall.await;
    let rows = waterfall["rows"].as_array().unwrap();
    let tree: Vec<(u64, &str, &str)> = rows
        .iter()
        .map(|row| {
            (row["depth"].as_u64().unwrap(), row["service"].as_str().unwrap(), row["operation"].as_str().unwrap())
        })
        .collect();
    let expected = [
        (0, "runner", "execute_question"),
        (1, "runner", "hybrid_router_call"),
        (2, "router", "router.inference_request"),
        (3, "router", "router.modal_call"),
        (4, "modal", "modal.inference"),
    ];
    assert_eq!(tree, expected);
    let trace_id = waterfall["trace_id"].as_str().unwrap();
    assert!(told.starts_with(trace_id));

    // The router's log line names the trace: its handler has the filter.
    let mut logged = router.0.stderr.take().unwrap();
    drop(router);
    let mut log = String::new();
    logged.read_to_string(&mut log).unwrap();
    assert!(log.lines().any(|line| line.starts_with(trace_id) && line.ends_with("asked")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_child_that_is_forked_while_its_parent_connects_sends_its_spans() {
    let Some(program) = python("fork.py") else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let (told, _) = run(traced(&mut program.command(), &server.url("")));
    assert_eq!((&told["known"], &told["ended_well"]), (&true.into(), &told["children"]), "{told}");
    all_spans(&server, &told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_llm_workflow_is_recorded_with_its_tokens_cost_and_evaluation() {
    let Some(program) = python("llm.py") else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let (told, _) = run(traced(&mut program.command(), &server.url("")));
    assert_eq!(told["same"], true);
    let path = format!("/v1/traces/{}", told["trace_id"].as_str().unwrap());
    let is_whole = |trace: &Value| trace["spans"].as_array().is_some_and(|spans| spans.len() == 4);
    let trace = read_until(&server, &path, is_whole).await;
    let of = |kind: &str| trace["spans"].as_array().unwrap().iter().find(|span| span["span_type"] == kind).unwrap();
    let llm = of("llm");
    assert_eq!((&llm["input_tokens"], &llm["output_tokens"]), (&812.into(), &97.into()));
    assert_eq!((&llm["cost_usd"], &llm["model"]), (&"0.00018".into(), &"gpt-4o-mini-2024-07-18".into()));
    assert_eq!(of("workflow")["status"], "completed");
    let evaluation = &of("evaluation")["events"][0];
    assert_eq!(evaluation["name"], "gen_ai.evaluation.result");
    assert_eq!(evaluation["attributes"]["gen_ai.evaluation.score.value"], 0.92);
    without_a_server(&program);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_recorded_with_its_decisions_and_its_continuation_elsewhere() {
    let Some(program) = typescript("deployment") else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let (told, _) = run(traced(&mut program.command(), &server.url("")));
    let path = format!("/v1/traces/{}", told["trace_id"].as_str().unwrap());
    let ended = |trace: &Value, count: usize| {
        let spans = trace["spans"].as_array();
        spans.is_some_and(|spans| spans.len() == count && spans.iter().all(|span| span["completed_at"].is_string()))
    };
    let trace = read_until(&server, &path, |trace| ended(trace, 9)).await;
    let spans = trace["spans"].as_array().unwrap();
    let of = |operation: &str| spans.iter().find(|span| span["operation"] == operation).unwrap();
    let rejected = of("cluster-eu");
    assert_eq!((&rejected["status"], &rejected["decision"]), (&"failed".into(), &"rejected".into()));
    assert_eq!(
        (&rejected["phase"], &rejected["error_message"]),
        (&"eligibility".into(), &"its version is too old".into())
    );
    assert!(spans.iter().all(|span| span["workspace_id"] == "w1" && span["release_id"] == "r42"));
    let sequences: HashSet<u64> = spans.iter().map(|span| span["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (0..9).collect());

    let continued = format!("/v1/traces/{}", told["continued_trace_id"].as_str().unwrap());
    let continued = read_until(&server, &continued, |trace| ended(trace, 2)).await;
    let root = continued["spans"].as_array().unwrap().iter().find(|span| span["parent_span_id"].is_null()).unwrap();
    assert_eq!((&root["parent_trace_id"], &root["job_id"]), (&told["trace_id"], &"job-7".into()));
    without_a_server(&program);
}

/// An example beyond the clients themselves: it does what it does with every server that is away.
fn without_a_server(program: &Program) {
    for fault in [Fault::Refused, Fault::Silent, Fault::Unavailable] {
        let away = Away::start(fault, KEY);
        let (told, ended) = run(traced(&mut program.command(), &away.url()));
        assert_eq!(told["same"], true, "{fault:?}: {told}");
        assert!(ended < Duration::from_secs(5), "{fault:?}: it took {ended:?} to end");
    }
}

#[test]
fn a_page_that_is_left_sends_its_last_spans_in_one_beacon() {
    let Some(program) = typescript("page") else { return };
    let (told, _) = run(&mut program.command());
    assert_eq!((&told["beacons"], &told["url"]), (&1.into(), &"http://tracefall.test/v1/spans".into()));
    let (sent, left) = (told["spans"].as_u64().unwrap(), told["left"].as_u64().unwrap());
    assert!(sent > 10, "{told}");
    assert_eq!(sent + left, told["recorded"].as_u64().unwrap());
}
