//! `POST /v1/spans`: spans in our own JSON.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::http::Services;
use crate::http::auth::MayIngest;
use crate::http::body::Envelope;
use crate::http::error::{ApiError, Problem};
use crate::http::ingest::{self, Taken, Terms};
use crate::http::negotiate::Query;
use crate::wire::context::Carried;
use crate::wire::{Rejected, media, native};

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
    let envelope = Envelope::of_http(&headers, services.intake.wire_limit())?;
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("unreadable"));
    let framing = media::framing(content_type)?;
    let carried =
        Carried::from_headers(|name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect());
    let terms = Terms { atomic: parameters.atomic, stored: parameters.wait.is_some(), some: true };
    let taken = ingest::take(&services, caller, envelope, body, terms, move |body, context| {
        native::decode(body, framing, context, &carried)
    });
    let Taken { disabled, accepted, rejected, sampled, stored } = taken.await?;
    let status = if stored.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let dead_letters = stored.unwrap_or_default();
    Ok((status, Json(Accepted { accepted, rejected, dead_letters, sampled, disabled })).into_response())
}
