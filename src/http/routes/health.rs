//! Liveness, readiness, metrics, and the page at `/`. None of them asks the store anything.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::http::Services;
use crate::http::auth::MayRead;
use crate::http::error::ApiError;

/// Whether spans can be taken.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Readiness {
    /// `ready`, `degraded` (spans are taken and wait in memory) or `draining`.
    pub status: &'static str,
    /// `ok`, or `unavailable` when the last write failed.
    pub store: &'static str,
    /// `enabled` or `disabled` by the kill switch.
    pub ingest: &'static str,
    pub queued_spans: usize,
    pub queued_bytes: usize,
}

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, body = String)))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether this process can take spans.
#[utoipa::path(
    get, path = "/readyz", tag = "operations",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness, description = "Shutting down"))
)]
pub async fn readyz(State(services): State<Services>) -> Response {
    let pipeline = services.pipeline.status();
    let (code, status) = match (pipeline.draining, pipeline.store_ok) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, true) => (StatusCode::OK, "ready"),
        (false, false) => (StatusCode::OK, "degraded"),
    };
    let readiness = Readiness {
        status,
        store: if pipeline.store_ok { "ok" } else { "unavailable" },
        ingest: if services.ingest_enabled { "enabled" } else { "disabled" },
        queued_spans: pipeline.queued_spans,
        queued_bytes: pipeline.queued_bytes,
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
