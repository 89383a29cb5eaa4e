//! Liveness, readiness, metrics, and the page at `/`. None of them asks the store anything.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::http::Services;
use crate::http::auth::MayRead;
use crate::http::error::ApiError;
use crate::journal;
use crate::pipeline::forward::TargetStatus;

/// Whether spans can be taken.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Readiness {
    /// `ready`; `degraded` (spans are taken and wait, or the journal fails and answers wait for the store, or a
    /// forward target is behind); `full` (there
    /// is no room left to wait in) or `draining`, which are 503.
    pub status: &'static str,
    /// `ok`; `opening` before its first answer; `unavailable`; `held_up` when it answers but does not take what is
    /// written.
    pub store: &'static str,
    /// The way to the store: `closed` (all well), `opening`, `open` (it is tried now and then), `half_open` (just now).
    pub circuit: &'static str,
    /// RFC 3339: since when the circuit is opening, closed or open.
    pub circuit_since: String,
    /// What is wrong with the store, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// What works with less than it might; no reason to act at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// `enabled` or `disabled` by the kill switch.
    pub ingest: &'static str,
    /// Rules by which spans are not kept; absent while there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub ingest_rules: usize,
    pub queued_spans: usize,
    pub queued_bytes: usize,
    /// Absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalState>,
    /// Other back ends that spans go on to; absent where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forward: Vec<ForwardState>,
}

/// How a forward target is. None of it concerns the taking of spans.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ForwardState {
    pub name: String,
    /// `ok`; `failing`: it is tried again; `behind`: its oldest span waits for longer than a minute; `refusing`: it said no
    /// to the last batch, which is dropped. The last two make the service `degraded`.
    pub state: &'static str,
    /// How long the oldest span that it has not taken has been here.
    pub lag_secs: u64,
    /// Requests that it has not taken.
    pub waiting_records: u64,
    /// Their bytes on disk, estimated.
    pub waiting_bytes: u64,
    /// Why it is not ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<TargetStatus> for ForwardState {
    fn from(status: TargetStatus) -> Self {
        Self {
            name: status.name,
            state: status.state,
            lag_secs: status.lag.as_secs(),
            waiting_records: status.behind.records,
            waiting_bytes: status.behind.bytes,
            reason: status.reason,
        }
    }
}

/// What is accepted and not yet stored, on disk.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct JournalState {
    /// `ok`, `high_water` from 80 % of the budget on, `full`, or `failing`.
    pub state: &'static str,
    /// Why it is failing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub bytes: u64,
    pub max_bytes: u64,
    /// Requests that were accepted and are not stored yet.
    pub unstored_records: u64,
    /// Of these, those that are not in memory too.
    pub waiting_records: u64,
    /// Requests that an earlier process left over.
    pub replay_records: u64,
    /// Of these, stored by now.
    pub replayed_records: u64,
    /// Requests that could not be read back since the start.
    pub lost_records: u64,
}

impl From<journal::Status> for JournalState {
    fn from(status: journal::Status) -> Self {
        let state = match &status {
            status if status.full => "full",
            status if !status.can_append() => "failing",
            status if status.high_water => "high_water",
            _ => "ok",
        };
        Self {
            state,
            reason: status.sync_error.or(status.append_error),
            bytes: status.bytes,
            max_bytes: status.max_bytes,
            unstored_records: status.undone,
            waiting_records: status.waiting,
            replay_records: status.replay.records,
            replayed_records: status.replay.done_records,
            lost_records: status.lost_records,
        }
    }
}

/// What is wrong with the store.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Trouble {
    /// `unreachable`, `silent`, `restarting`, `connections`, `login`, `database`, `schema`, `rights`, `read_only`,
    /// `resources`, `file`, `busy` or `unknown`.
    pub cause: &'static str,
    /// In words, with the next step. Holds no secret.
    pub reason: String,
    /// RFC 3339.
    pub since: String,
    /// Tries of the store that failed one after the other.
    pub failures: u32,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, body = String)))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether this process can take spans.
#[utoipa::path(
    get, path = "/readyz", tag = "operations",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness, description = "Shutting down, or without room for further spans"))
)]
pub async fn readyz(State(services): State<Services>) -> Response {
    let control = services.pipeline.control();
    let pipeline = services.pipeline.status();
    let store = pipeline.store;
    let journal = pipeline.journal.map(JournalState::from);
    let is_failing = journal.as_ref().is_some_and(|journal| journal.state == "failing");
    let is_behind = pipeline.forward.iter().any(TargetStatus::is_in_trouble);
    let (code, status) = match (pipeline.draining, pipeline.full, store.state) {
        (true, ..) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (_, true, _) => (StatusCode::SERVICE_UNAVAILABLE, "full"),
        (.., "ok") if !is_failing && !is_behind => (StatusCode::OK, "ready"),
        _ => (StatusCode::OK, "degraded"),
    };
    let trouble = store.trouble.map(|trouble| Trouble {
        cause: trouble.cause,
        reason: trouble.reason,
        since: trouble.since.to_string(),
        failures: store.failures,
    });
    let readiness = Readiness {
        status,
        store: store.state,
        circuit: store.circuit,
        circuit_since: store.since.to_string(),
        trouble,
        notes: store.notes,
        ingest: if control.is_off() { "disabled" } else { "enabled" },
        ingest_rules: control.rules(),
        queued_spans: pipeline.queued_spans,
        queued_bytes: pipeline.queued_bytes,
        journal,
        forward: pipeline.forward.into_iter().map(ForwardState::from).collect(),
    };
    (code, Json(readiness)).into_response()
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, body = String)))]
pub async fn metrics(State(services): State<Services>, _: MayRead) -> Result<Response, ApiError> {
    let text = (services.metrics)();
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// What a person finds who opens the address in a browser.
pub async fn index() -> &'static str {
    concat!(
        "Tracefall ",
        env!("CARGO_PKG_VERSION"),
        " is running.\n\n",
        "POST spans to /v1/spans, then read /v1/traces and /v1/executions/{id}/waterfall\n",
        "(with \"Accept: text/plain\" they are drawn for people). /openapi.json describes everything.\n",
    )
}
