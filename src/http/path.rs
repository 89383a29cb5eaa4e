//! What the path of a request names.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::http::error::ApiError;
use crate::model::ids::TraceId;

/// The trace that the path names, in any spelling of its id. Anything else is a 400 that says what is wrong with it.
pub struct TracePath(pub TraceId);

impl<S: Send + Sync> FromRequestParts<S> for TracePath {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Segment(text) = Segment::from_request_parts(parts, state).await?;
        trace_id(&text).map(Self)
    }
}

/// What one place of the path says, decoded. Anything that is no text is a 400.
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        text.map(|Path(text)| Self(text)).map_err(|error| ApiError::bad_request(error.body_text()))
    }
}

/// A trace id in any spelling.
///
/// # Errors
/// 400 that says what is wrong with it.
pub fn trace_id(text: &str) -> Result<TraceId, ApiError> {
    TraceId::parse(text).map_err(|error| ApiError::bad_request(format!("the trace id {error}")))
}

/// 404 for a trace of which there is nothing.
pub fn unknown_trace(trace_id: TraceId) -> ApiError {
    ApiError::not_found(format!("no span of trace {trace_id} is known"))
}
