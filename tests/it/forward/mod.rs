//! Spans go on to other back ends: to a second service of ours, and to targets that refuse, hang, limp and lie. Whatever
//! they do, ingest answers as ever, and what a target does not get is counted.

mod delivery;
mod ring;
mod trouble;

use std::collections::{BTreeSet, VecDeque};
use std::io::Read;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::binary::Server;
use crate::support::{client, json};

/// How long anything may take until it holds. Generous, since tests share a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A receiver of OTLP that answers as it is told.
struct Fake {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    got: Vec<Got>,
    /// What it answers, one after the other; then it takes everything.
    answers: VecDeque<Answer>,
}

/// A request that it took or refused.
#[derive(Clone)]
struct Got {
    uri: Uri,
    headers: HeaderMap,
    taken: bool,
    request: ExportTraceServiceRequest,
}

#[derive(Clone)]
struct Answer {
    status: u16,
    retry_after: Option<u64>,
    body: Vec<u8>,
}

impl Answer {
    fn status(status: u16) -> Self {
        Self { status, retry_after: None, body: Vec::new() }
    }
}

impl Fake {
    async fn start() -> Self {
        Self::start_at(free_address()).await
    }

    async fn start_at(address: SocketAddr) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let answering = state.clone();
        let router = Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let state = answering.clone();
            async move { answer(&state, uri, headers, &body) }
        });
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, state, serving }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn will_answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.lock().unwrap().answers.extend(answers);
    }

    fn got(&self) -> Vec<Got> {
        self.state.lock().unwrap().got.clone()
    }

    /// Trace ids of the spans that it took, and the number of these spans.
    fn taken(&self) -> (BTreeSet<String>, usize) {
        let got = self.got();
        let spans = got.iter().filter(|got| got.taken).flat_map(Got::spans);
        let ids: Vec<String> = spans.map(|span| hex(&span.trace_id)).collect();
        (ids.iter().cloned().collect(), ids.len())
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "{what}: {} requests, {} traces",
                self.got().len(),
                self.taken().0.len()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until it has taken spans of all these traces.
    async fn until_taken(&self, traces: &BTreeSet<String>) {
        self.until("not everything arrived", |fake| traces.is_subset(&fake.taken().0)).await;
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Got {
    fn spans(&self) -> impl Iterator<Item = &opentelemetry_proto::tonic::trace::v1::Span> {
        let scopes = self.request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| &scope.spans)
    }
}

fn answer(state: &Mutex<State>, uri: Uri, headers: HeaderMap, body: &[u8]) -> Response {
    let mut plain = Vec::new();
    match headers.get("content-encoding").map(|value| value.to_str().unwrap()) {
        Some("gzip") => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap()),
        _ => plain.extend_from_slice(body),
    }
    let request = ExportTraceServiceRequest::decode(&plain[..]).unwrap();
    let mut state = state.lock().unwrap();
    let answer = state.answers.pop_front().unwrap_or(Answer::status(200));
    state.got.push(Got { uri, headers, taken: answer.status == 200, request });
    let mut response = (StatusCode::from_u16(answer.status).unwrap(), answer.body).into_response();
    response.headers_mut().insert("content-type", "application/x-protobuf".parse().unwrap());
    if let Some(seconds) = answer.retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Points a service at a target, with small files so that they are begun and removed all the time.
fn target(command: &mut Command, name: &str, url: &str) {
    command
        .env(format!("TRACEFALL__FORWARD__{name}__URL"), url)
        .env(format!("TRACEFALL__FORWARD__{name}__MAX_DISK_BYTES"), (2 << 20).to_string())
        .env(format!("TRACEFALL__FORWARD__{name}__TIMEOUT_SECS"), "2")
        .env("TRACEFALL__JOURNAL__SEGMENT_BYTES", (1 << 20).to_string());
}

/// Posts a trace of two spans, and gives its id.
async fn post(server: &Server, number: u64) -> String {
    post_with(server, number, "").await
}

/// The same with an attribute of this text.
async fn post_with(server: &Server, number: u64, text: &str) -> String {
    let trace = format!("{number:032x}");
    let span = |id: u64, parent: Value| {
        json!({"trace_id": trace, "span_id": format!("{id:x}"), "parent_span_id": parent, "service": "s", "operation": "o",
            "started_at": "2026-01-05T10:00:00Z", "duration_ms": 1, "attributes": {"text": text}})
    };
    let body = json!([span(1, Value::Null), span(2, json!("1"))]).to_string();
    let request = client().post(server.url("/v1/spans")).header("content-type", "application/json").body(body);
    let (status, answer) = json(request).await;
    assert_eq!(status.as_u16(), 202, "{answer}");
    trace
}

async fn readyz(server: &Server) -> Value {
    json(client().get(server.url("/readyz"))).await.1
}

/// Waits until what /readyz says holds.
async fn until(server: &Server, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ready = readyz(server).await;
        if holds(&ready) {
            return ready;
        }
        assert!(Instant::now() < deadline, "{ready:#}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until nothing waits for any target, and the store has everything.
async fn until_forwarded(server: &Server) -> Value {
    until(server, |ready| {
        let forward = ready["forward"].as_array().unwrap();
        forward.iter().all(|target| target["waiting_records"] == 0) && ready["journal"]["unstored_records"] == 0
    })
    .await
}

/// A metric's value; 0 while it is not there.
async fn metric(server: &Server, series: &str) -> f64 {
    let text = client().get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_default()
}
