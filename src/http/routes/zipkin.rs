//! `POST /api/v2/spans`: Zipkin's reporters.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};

use crate::http::Services;
use crate::http::auth::MayIngest;
use crate::http::body::Envelope;
use crate::http::error::{ApiError, Problem};
use crate::http::ingest::{self, Terms};
use crate::wire::{media, zipkin};

/// Takes a JSON array of Zipkin's spans (version 2), all or none.
#[utoipa::path(
    post, path = "/api/v2/spans", tag = "ingest",
    request_body(content = Vec<Object>, description = "Zipkin's spans, version 2", content_type = "application/json"),
    responses(
        (status = 202, description = "Taken and kept; the body is empty"),
        (status = 400, body = Problem, description = "Not such a list, or a span of it cannot be taken"),
        (status = 413, body = Problem, description = "A limit is exceeded"),
        (status = 415, body = Problem, description = "Protobuf, which is not understood here, or an unknown encoding"),
        (status = 429, body = Problem, description = "No room is left for what waits for the store; see Retry-After"),
    )
)]
pub async fn report(
    State(services): State<Services>,
    MayIngest(caller): MayIngest,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let envelope = Envelope::of_http(&headers, services.intake.wire_limit())?;
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("unreadable"));
    if media::framing(content_type)? != media::Framing::Json {
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Zipkin's spans come as application/json"));
    }
    ingest::take(&services, caller, envelope, body, Terms::default(), zipkin::decode).await?;
    Ok(StatusCode::ACCEPTED)
}
