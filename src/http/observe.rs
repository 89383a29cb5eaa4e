//! What every request gets: an id, a log line, a place in the metrics, and an end.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::{counter, histogram};
use tracing::Instrument;

use crate::clock;
use crate::http::error::ApiError;
use crate::meters;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest client-given id that is echoed and logged.
const MAX_ID_LEN: usize = 128;

/// Names the request (a valid X-Request-ID is kept, else one is made), runs it, and tells of it. The id is in the
/// answer's X-Request-ID and in every log line written meanwhile.
pub async fn request(mut request: Request, next: Next) -> Response {
    let id = request.headers().get(&REQUEST_ID).filter(|value| is_usable(value)).cloned();
    let id = id.or_else(|| HeaderValue::from_str(&clock::random_hex_128()).ok());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let shown = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
    let span = tracing::info_span!("request", id = shown, %method, route);
    if !request.headers().get(&REQUEST_ID).is_some_and(is_usable) {
        request.headers_mut().remove(&REQUEST_ID);
    }

    let begun = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let took = begun.elapsed();
    let status = response.status();
    span.in_scope(|| tracing::debug!(status = status.as_u16(), ms = took.as_secs_f64() * 1e3, "answered"));
    let labels = [("method", method.as_str().to_owned()), ("route", route), ("status", status.as_u16().to_string())];
    counter!(meters::HTTP_REQUESTS, &labels).increment(1);
    histogram!(meters::HTTP_REQUEST_SECONDS, &labels[..2]).record(took.as_secs_f64());
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Answers 503 when the request is not answered within `patience`, so that no caller hangs.
pub async fn deadline(State(patience): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            tracing::warn!(secs = patience.as_secs(), "a request was not answered in time");
            ApiError::unavailable("this took too long; ask again, for less if you can").into_response()
        }
    }
}

fn is_usable(id: &HeaderValue) -> bool {
    (1..=MAX_ID_LEN).contains(&id.len()) && id.as_bytes().iter().all(|byte| (0x21..=0x7e).contains(byte))
}
