//! `POST /v1/spans`: spans in our own JSON.

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics::counter;
use serde::{Deserialize, Serialize};

use crate::http::Services;
use crate::http::auth::MayIngest;
use crate::http::error::{ApiError, Problem};
use crate::http::negotiate::Query;
use crate::meters;
use crate::pipeline::{Busy, Pipeline, Receipt, Stored};
use crate::wire::context::Carried;
use crate::wire::{DecodeContext, Decoded, Rejected, media, native};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Take all spans or none: one bad span makes the answer 400.
    #[serde(default)]
    atomic: bool,
    /// `stored`: answer 200 after the commit instead of 202 before it.
    wait: Option<Wait>,
}

#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    Stored,
}

/// What was taken.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub struct Accepted {
    /// Spans that were taken and are kept.
    pub accepted: usize,
    /// Spans that were not, with the reason. Sending them again unchanged is of no use.
    pub rejected: Vec<Rejected>,
    /// With `?wait=stored`: spans that the store itself refused; an operator finds them among the dead letters.
    #[serde(skip_serializing_if = "is_zero")]
    pub dead_letters: usize,
    /// Spans that are not kept because an operator's rules say so (`/v1/admin/ingest`). Sending them again is of no use.
    #[serde(skip_serializing_if = "is_zero")]
    pub sampled: usize,
    /// Present when ingest is switched off: nothing is kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Takes spans: an array, `{"spans": […]}`, one span, or one span a line (`application/x-ndjson`).
#[utoipa::path(
    post, path = "/v1/spans", tag = "ingest", params(Parameters),
    request_body(content = Vec<Object>, description = "See docs/api.md for the members of a span and their aliases",
        content_type = "application/json"),
    responses(
        (status = 200, description = "Committed (`?wait=stored`)", body = Accepted),
        (status = 202, description = "Taken and kept; committed soon", body = Accepted),
        (status = 400, description = "Not decodable, or no span could be taken", body = Problem),
        (status = 401, body = Problem, description = "No key, or an unknown one"),
        (status = 413, body = Problem, description = "A limit is exceeded"),
        (status = 415, body = Problem, description = "Unknown Content-Type or Content-Encoding"),
        (status = 429, body = Problem, description = "No room is left for what waits for the store; see Retry-After"),
        (status = 503, body = Problem, description = "No memory is free, nothing keeps the spans, or shutting down; see Retry-After"),
    )
)]
pub async fn post_spans(
    State(services): State<Services>,
    MayIngest(caller): MayIngest,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let control = services.pipeline.control();
    if control.is_off() {
        services.intake.drain(body).await;
        control.note_disabled();
        let disabled = Accepted { disabled: true, ..Accepted::default() };
        return Ok((StatusCode::ACCEPTED, Json(disabled)).into_response());
    }
    services.pipeline.check_room(announced(&body)).inspect_err(busy)?;
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("unreadable"));
    let framing = media::framing(content_type)?;
    let carried =
        Carried::from_headers(|name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect());
    let (tenant, received_at) = (caller.tenant, services.clock.now());
    let Parameters { atomic, wait } = parameters;
    let pipeline = services.pipeline.clone();
    let taken = services.intake.take(&headers, body, move |body, limits| {
        let context = DecodeContext { tenant: &tenant, received_at, limits };
        let decoded = native::decode(body, framing, &context, &carried)?;
        Ok(submit(&pipeline, decoded, atomic, wait.is_some()))
    });
    let (receipt, answer) = taken.await.inspect_err(|error| count_refused(error.status()))??;
    let answer = match wait {
        None => {
            receipt.kept(services.max_wait).await.inspect_err(busy)?;
            (StatusCode::ACCEPTED, answer)
        }
        Some(Wait::Stored) => match receipt.stored(services.max_wait).await.inspect_err(busy)? {
            Stored::NotYet => (StatusCode::ACCEPTED, answer),
            Stored::Yes { dead_letters } => (StatusCode::OK, Accepted { dead_letters, ..answer }),
        },
    };
    counter!(meters::SPANS_ACCEPTED).increment(answer.1.accepted as u64);
    Ok((answer.0, Json(answer.1)).into_response())
}

/// Hands the spans on, if they are to be taken.
fn submit(
    pipeline: &Pipeline,
    Decoded { spans, rejected }: Decoded,
    atomic: bool,
    awaited: bool,
) -> Result<(Receipt, Accepted), ApiError> {
    let accepted = spans.len();
    for rejected in &rejected {
        tracing::debug!(index = rejected.index, field = rejected.field, reason = rejected.reason, "span rejected");
    }
    counter!(meters::SPANS_REJECTED, "reason" => "invalid").increment(rejected.len() as u64);
    if atomic && !rejected.is_empty() {
        let all = rejected.len() + accepted;
        let detail = format!("{} of {all} spans cannot be taken, so none is (atomic)", rejected.len());
        return Err(ApiError::rejected(detail, rejected));
    }
    if spans.is_empty() && !rejected.is_empty() {
        return Err(ApiError::rejected("none of the spans can be taken", rejected));
    }
    let receipt = pipeline.submit(spans, awaited).inspect_err(busy)?;
    let sampled = receipt.sampled();
    Ok((receipt, Accepted { accepted: accepted.saturating_sub(sampled), rejected, sampled, ..Accepted::default() }))
}

fn busy(_: &Busy) {
    counter!(meters::REQUESTS_REFUSED, "reason" => "busy").increment(1);
}

/// Bytes that the body is known to have, 0 when it does not say.
fn announced(body: &Body) -> usize {
    usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX)
}

fn count_refused(status: StatusCode) {
    let reason = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::SERVICE_UNAVAILABLE => "busy",
        _ => "undecodable",
    };
    counter!(meters::REQUESTS_REFUSED, "reason" => reason).increment(1);
}
