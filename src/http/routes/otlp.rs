//! `POST /v1/traces`: OTLP over HTTP, protobuf or JSON.
//!
//! The answer has the encoding of the request. Spans that cannot be taken are told in `partialSuccess`, which no client
//! sends again; a refusal becomes a `google.rpc.Status` in [`crate::http::refusal`].
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::Services;
use crate::http::auth::MayIngest;
use crate::http::body::Envelope;
use crate::http::error::{ApiError, Problem};
use crate::http::ingest::{self, Taken, Terms};
use crate::wire::otlp::{self, Encoding, answer};

/// Takes spans as OpenTelemetry's exporters send them.
#[utoipa::path(
    post, path = "/v1/traces", tag = "ingest",
    request_body(content(("application/x-protobuf"), ("application/json")), description = "ExportTraceServiceRequest"),
    responses(
        (status = 200, description = "ExportTraceServiceResponse: taken and kept; partialSuccess tells of what was not"),
        (status = 400, description = "Not decodable (google.rpc.Status, as every refusal here)"),
        (status = 413, description = "A limit is exceeded"),
        (status = 415, description = "Unknown Content-Type or Content-Encoding"),
        (status = 429, body = Problem, description = "No room is left for what waits for the store; see Retry-After"),
        (status = 503, description = "No memory is free, nothing keeps the spans, or shutting down; see Retry-After"),
    )
)]
pub async fn export(
    State(services): State<Services>,
    MayIngest(caller): MayIngest,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let encoding = encoding(&headers).ok_or_else(|| {
        ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "OTLP comes as Content-Type: application/x-protobuf or application/json",
        )
    })?;
    let envelope = Envelope::of_http(&headers, services.intake.otlp_wire_limit())?;
    let taken = ingest::take(&services, caller, envelope, body, Terms::default(), move |body, context| {
        otlp::decode(body, encoding, context)
    });
    let Taken { rejected, .. } = taken.await?;
    let content_type = [(header::CONTENT_TYPE, media_type(encoding))];
    Ok((StatusCode::OK, content_type, answer::success(encoding, &rejected)).into_response())
}

/// The encoding that `Content-Type` names: without regard to case and parameters.
pub fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    let is = |name: &str| essence.eq_ignore_ascii_case(name);
    match () {
        () if is("application/x-protobuf") || is("application/protobuf") => Some(Encoding::Protobuf),
        () if is("application/json") => Some(Encoding::Json),
        () => None,
    }
}

pub fn media_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Protobuf => "application/x-protobuf",
        Encoding::Json => "application/json",
    }
}
