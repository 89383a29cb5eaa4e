//! The same over HTTP: two services, one on each database, are sent the same requests and asked the same questions, whose
//! answers are the same byte for byte; and the same as those of the read path over the reference.

use reqwest::{RequestBuilder, StatusCode, Url};
use serde::Serialize;
use serde_json::{Value, json};
use tracefall::clock::Clock;
use tracefall::model::ids::TraceId;
use tracefall::model::limits::Limits;
use tracefall::model::merge::fold;
use tracefall::model::search::{Cursor, TraceQuery};
use tracefall::model::span::{DEFAULT_DEADLINE_NS, Outcome, Status};
use tracefall::model::time::UnixNanos;
use tracefall::query::{Queries, WaterfallOptions};
use tracefall::settings::Settings;
use tracefall::store::{Result, Store};
use tracefall::wire::context::Carried;
use tracefall::wire::media::Framing;
use tracefall::wire::{DecodeContext, native};

use super::traffic::{EXECUTIONS, JOBS, SERVICES, roll_up};
use super::{Seed, seeds};
use crate::store_suite::Home;
use crate::store_suite::records::*;
use crate::support::postgres::Database;
use crate::support::reference::Reference;
use crate::support::{TestServer, json as answer_of};

const TRACES: u64 = 12;

/// The services under comparison, all by one clock that stands still between requests, and the reference.
struct Services {
    clock: Clock,
    servers: Vec<(&'static str, TestServer)>,
    reference: Store,
    queries: Queries,
}

impl Services {
    async fn new(database: &Database) -> Self {
        database.empty().await;
        let clock = Clock::manual(NOW);
        // A trace is settled when its service stops, so that all are settled at the same time.
        let settings = |settings: &mut Settings| {
            settings.pipeline.settle_quiet_ms = 3_600_000;
            settings.pipeline.settle_max_age_ms = 3_600_000;
        };
        let sqlite = TestServer::at(clock.clone(), settings).await;
        let postgres = TestServer::at(clock.clone(), |changed| {
            settings(changed);
            changed.store.url = database.settings().url;
        });
        let servers = vec![("SQLite", sqlite), ("PostgreSQL", postgres.await)];
        let reference = Reference::default().ready().await;
        let queries =
            Queries::new(reference.traces.clone(), reference.pins.clone(), clock.clone(), DEFAULT_DEADLINE_NS);
        Self { clock, servers, reference, queries }
    }

    async fn post(&self, spans: &Value) {
        let body = spans.to_string();
        let context = DecodeContext { tenant: &tenant(), received_at: self.clock.now(), limits: &Limits::default() };
        let decoded = native::decode(body.as_bytes(), Framing::Json, &context, &Carried::default()).unwrap();
        let answer = json!({"accepted": decoded.spans.len(), "rejected": decoded.rejected});
        self.reference.spans.write_spans(&fold(decoded.spans)).await.unwrap();
        for (name, server) in &self.servers {
            let (status, answered) = answer_of(server.post("/v1/spans?wait=stored", body.clone())).await;
            assert_eq!((status, &answered), (StatusCode::OK, &answer), "{name}");
        }
    }

    /// Stops and starts the services, which settles every trace.
    async fn restart(mut self) -> Self {
        let unsettled = self.reference.rollups.unsettled(1_000).await.unwrap();
        let rollups = roll_up(&self.reference, &unsettled, self.clock.now()).await;
        self.reference.rollups.write_rollups(&rollups).await.unwrap();
        for (name, server) in std::mem::take(&mut self.servers) {
            self.servers.push((name, server.restart().await));
        }
        self
    }

    /// Asks both services. `expected` is the body of the answer, or `None` where there is nothing to be found.
    async fn ask(&self, path: &str, parameters: &[(&str, String)], expected: Option<String>) {
        let mut drawings = Vec::new();
        for (name, server) in &self.servers {
            let url = Url::parse_with_params(&server.url(path), parameters).unwrap();
            let (status, body) = text(server.client.get(url.clone())).await;
            let question = format!("{path} {parameters:?} of {name}");
            match &expected {
                Some(expected) => assert_eq!((status, &body), (StatusCode::OK, expected), "{question}"),
                None => assert_eq!(status, StatusCode::NOT_FOUND, "{question}: {body}"),
            }
            drawings.push(text(server.client.get(url).header("accept", "text/plain")).await);
        }
        assert_eq!(drawings[0], drawings[1], "{path} {parameters:?}");
    }

    async fn ask_about_trace(&self, trace_id: TraceId) {
        let path = format!("/v1/traces/{trace_id}");
        self.ask(&path, &[], found(self.queries.trace(&tenant(), trace_id).await)).await;
        let path = format!("{path}/waterfall");
        for (max_rows, correct_skew) in [(10_000, false), (2, true)] {
            let options = WaterfallOptions { max_rows, correct_skew, ..WaterfallOptions::default() };
            let waterfall = self.queries.waterfall(&tenant(), trace_id, &options).await;
            let parameters = [("max_rows", max_rows.to_string()), ("correct_skew", correct_skew.to_string())];
            self.ask(&path, &parameters, found(waterfall)).await;
        }
    }

    async fn ask_about_execution(&self, execution: &str, chosen: TraceId) {
        let mut url = Url::parse("http://localhost/v1/executions/").unwrap();
        url.path_segments_mut().unwrap().pop_if_empty().push(execution);
        let path = url.path();
        self.ask(path, &[], found(self.queries.execution(&tenant(), execution).await)).await;
        let path = format!("{path}/waterfall");
        for chosen in [None, Some(chosen)] {
            let options = WaterfallOptions::default();
            let waterfall = self.queries.execution_waterfall(&tenant(), execution, chosen, &options).await;
            let parameters: Vec<_> = chosen.iter().map(|chosen| ("trace", chosen.to_string())).collect();
            self.ask(&path, &parameters, found(waterfall)).await;
        }
    }

    /// Asks for a list page by page.
    async fn ask_for_list(&self, mut query: TraceQuery) {
        loop {
            let list = self.queries.traces(&tenant(), &query).await.unwrap();
            let texts = [
                ("service", query.service.clone()),
                ("status", query.status.map(|status| status.to_string())),
                ("execution_id", query.execution_id.clone()),
                ("job_id", query.job_id.clone()),
                ("from", query.from.map(|at| at.to_string())),
                ("to", query.to.map(|at| at.to_string())),
                ("cursor", query.cursor.as_ref().map(Cursor::to_string)),
                ("limit", Some(query.limit.to_string())),
            ];
            let parameters: Vec<_> = texts.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
            self.ask("/v1/traces", &parameters, Some(serde_json::to_string(&list).unwrap())).await;
            query.cursor = list.next;
            if query.cursor.is_none() {
                return;
            }
        }
    }

    async fn ask_all(&self, dice: &mut Dice) {
        // One more than there are.
        for trace in 1..=TRACES + 1 {
            self.ask_about_trace(trace_id(trace)).await;
        }
        for execution in EXECUTIONS.into_iter().chain(["no/body's"]) {
            self.ask_about_execution(execution, trace_id(1 + dice.below(TRACES))).await;
        }
        let all = || TraceQuery { limit: 50, ..TraceQuery::default() };
        let queries = Outcome::ALL.iter().map(|status| TraceQuery { status: Some(*status), ..all() });
        let queries = queries.chain([all(), TraceQuery { limit: 5, ..all() }]);
        for query in queries.chain((0..8).map(|_| any_query(dice))) {
            self.ask_for_list(query).await;
        }
    }
}

async fn text(request: RequestBuilder) -> (StatusCode, String) {
    let response = request.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

fn found<T: Serialize>(answer: Result<Option<T>>) -> Option<String> {
    answer.unwrap().map(|answer| serde_json::to_string(&answer).unwrap())
}

fn any_query(dice: &mut Dice) -> TraceQuery {
    let mut text =
        |values: &[&str]| dice.one_in(3).then(|| values[dice.below(values.len() as u64) as usize].to_owned());
    let (service, execution_id, job_id) = (text(&SERVICES), text(&EXECUTIONS), text(&JOBS));
    let mut instant = || dice.one_in(4).then(|| start(1 + dice.below(TRACES)).plus(dice.below(7) as i64 * 1_001));
    let (from, to) = (instant(), instant());
    TraceQuery { service, execution_id, job_id, from, to, limit: 1 + dice.below(9) as u32, ..TraceQuery::default() }
}

/// When a trace starts: now, at midnight, long ago, and in the future.
fn start(trace: u64) -> UnixNanos {
    match trace % 6 {
        0 => MIDNIGHT,
        1 => NOW.plus(-days(60)),
        2 => NOW.plus(days(500)),
        3 => NOW.plus(4_000 * SECOND),
        _ => NOW,
    }
}

/// A span as a caller may send it: its start, its completion, both, or less.
fn any_span(dice: &mut Dice) -> Value {
    let (trace, number) = (1 + dice.below(TRACES), 1 + dice.below(6));
    // In every other trace the start is told differently each time.
    let jitter = if trace.is_multiple_of(2) { dice.below(20_000) as i64 - 10_000 } else { 0 };
    let started_at = start(trace).plus(number as i64 * 1_001 + jitter);
    let mut span = json!({"trace_id": trace_id(trace).to_string(), "span_id": format!("{number:x}")});
    let mut set = |name: &str, value: Value, chances: u64| {
        if dice.one_in(chances) {
            span[name] = value;
        }
    };
    if number > 1 {
        set("parent_span_id", json!(format!("{:x}", number / 2)), 1);
    }
    set("execution_id", json!(EXECUTIONS[(trace % 3) as usize]), 2);
    set("job_id", json!(JOBS[(number % 3) as usize]), 2);
    set("tokens", json!({"input": 812, "output": number}), 3);
    set("cost", json!("0.00420000000001"), 4);
    set("inputs", json!({"prompt": "grüße 🦀", "n": 1.50}), 3);
    set("outputs", json!("\u{0}nothing\n"), 5);
    set("error", json!({"type": "OOM", "message": "CUDA out of memory", "stack": "a\nb"}), 6);
    set("metadata", json!({"b": 1.5, "a": [1, {"x": null}], "\"": number}), 2);
    set("metadata", json!({"b": "two", "c": null}), 4);
    set("events", json!([{"name": "queued", "timestamp": started_at.to_string()}, {"name": "untimed"}]), 4);
    set("links", json!([{"trace_id": "1".repeat(32), "span_id": number.to_string()}]), 5);
    set("resource", json!({"service.version": "1.0"}), 3);
    set("revision", json!(number), 3);
    set("span_id", json!("no id"), 60);
    for (name, values) in [("service", &SERVICES[..]), ("operation", &["ask", "infer"]), ("region", &["us", "eu"])] {
        if dice.one_in(2) {
            span[name] = json!(values[dice.below(values.len() as u64) as usize]);
        }
    }
    if !dice.one_in(3) {
        span["started_at"] = json!(started_at.to_string());
    }
    match dice.below(5) {
        0 => span["completed_at"] = json!(started_at.plus(dice.below(9_999) as i64).to_string()),
        1 => span["duration_ms"] = json!(dice.below(9_999) as f64 / 1e6),
        2 => span["status"] = json!(Status::ALL[dice.below(Status::ALL.len() as u64) as usize].name()),
        _ => {}
    }
    span
}

#[tokio::test]
async fn random_traffic_reads_alike_over_http() {
    for seed in seeds(1, 20) {
        let Some(database) = Database::new() else { return };
        let _seed = Seed(seed);
        let mut dice = Dice(seed);
        let mut services = Services::new(&database).await;
        for _ in 0..4 {
            for _ in 0..3 {
                let spans: Vec<Value> = (0..1 + dice.below(40)).map(|_| any_span(&mut dice)).collect();
                services.post(&json!(spans)).await;
                if dice.one_in(3) {
                    services.post(&json!({"spans": spans})).await;
                }
            }
            services.ask_for_list(any_query(&mut dice)).await;
            services = services.restart().await;
            // Now and then it is quiet for long enough to give up on open spans.
            let passed = if dice.one_in(2) { 4_000 } else { 1 } * SECOND.unsigned_abs();
            services.clock.advance(passed + dice.below(1_000));
            services.ask_for_list(any_query(&mut dice)).await;
        }
        services.ask_all(&mut dice).await;
        services.restart().await.ask_all(&mut dice).await;
    }
}
