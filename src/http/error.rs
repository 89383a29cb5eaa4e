//! Every refusal as RFC 9457 `application/problem+json`, and the one mapping from errors to statuses.
//!
//! A 5xx shows the client only the request id; what happened is in the log under it.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::levers::Fault;
use crate::pipeline::Busy;
use crate::pipeline::control::NotChanged;
use crate::store::StoreError;
use crate::wire::inflate::InflateError;
use crate::wire::media::MediaError;
use crate::wire::{DecodeError, Rejected};

/// An answer that is not the one that was asked for.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    /// What went wrong in this case and what to do about it, for the client.
    detail: String,
    retry_after: Option<Duration>,
    rejected: Vec<Rejected>,
    errors: Vec<Fault>,
}

/// What a refusal says, beside its answer, for those who say it in other words.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub detail: String,
    pub retry_after: Option<Duration>,
}

/// The body of a refusal. Source: <https://www.rfc-editor.org/rfc/rfc9457>.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says it all.
    #[serde(rename = "type")]
    pub problem_type: &'static str,
    /// The status in words.
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// The spans that were not taken and why, where spans were posted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejected>,
    /// What is wrong with a document, each with its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

/// What a full service asks clients to wait before they come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// And one whose store is: upkeep looks no more often.
const RETRY_WITHOUT_ROOM: Duration = Duration::from_secs(60);

impl ApiError {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after: None, rejected: Vec::new(), errors: Vec::new() }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 503 with Retry-After: the same request may succeed soon.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(RETRY_AFTER), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// None of the spans was taken.
    pub fn rejected(detail: impl Into<String>, rejected: Vec<Rejected>) -> Self {
        Self { rejected, ..Self::bad_request(detail) }
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let refusal = Refusal { detail: self.detail.clone(), retry_after: self.retry_after };
        let problem = Problem {
            problem_type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            rejected: self.rejected,
            errors: self.errors,
        };
        let mut response = (self.status, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(refusal);
        response
    }
}

impl From<Busy> for ApiError {
    fn from(busy: Busy) -> Self {
        let status = match busy {
            Busy::Full => StatusCode::TOO_MANY_REQUESTS,
            // Not 507: exporters give up on what they do not know, and come back after a 503.
            Busy::Draining | Busy::Unkept | Busy::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        };
        let wait = if busy == Busy::NoRoom { RETRY_WITHOUT_ROOM } else { RETRY_AFTER };
        Self { retry_after: Some(wait), ..Self::new(status, format!("{busy}; send the same spans again later")) }
    }
}

impl From<NotChanged> for ApiError {
    fn from(error: NotChanged) -> Self {
        let detail = error.to_string();
        match error {
            NotChanged::Faults(errors) => Self { errors, ..Self::bad_request(detail) },
            NotChanged::Stale(_) => Self::new(StatusCode::PRECONDITION_FAILED, detail),
            NotChanged::Broken => Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail),
        }
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        let status = match error {
            DecodeError::Malformed(_) => StatusCode::BAD_REQUEST,
            DecodeError::TooManySpans { .. } | DecodeError::TooManyItems { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<MediaError> for ApiError {
    fn from(error: MediaError) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string())
    }
}

impl From<InflateError> for ApiError {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::Invalid { .. } => Self::bad_request(error.to_string()),
            InflateError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            InflateError::NoRoom => Self::unavailable("too much is being taken in at this moment; send the same again"),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_retryable() {
            // Of a store that is known to be away enough is said elsewhere.
            if !matches!(error, StoreError::Away { .. }) {
                tracing::warn!(%error, "a question could not be answered");
            }
            return Self::unavailable(format!(
                "the store cannot answer at this moment; ask again: {}",
                error.plainly()
            ));
        }
        tracing::error!(%error, "a question could not be answered");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the question could not be answered; the log has the reason under this answer's X-Request-ID",
        )
    }
}
