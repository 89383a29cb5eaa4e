//! `GET /v1/traces`, the list, and `GET /v1/traces/{trace_id}`, the spans of one.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::http::Services;
use crate::http::auth::MayRead;
use crate::http::error::{ApiError, Problem};
use crate::http::negotiate::{self, Query};
use crate::http::path::{TracePath, unknown_trace};
use crate::http::routes::waterfall::Drawing;
use crate::model::search::{Cursor, TraceQuery};
use crate::model::span::Outcome;
use crate::model::time::UnixNanos;
use crate::query::{TraceList, TraceSpans};
use crate::render;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Traces with a span of this service.
    service: Option<String>,
    /// pending, running, completed, failed, cancelled, skipped or abandoned.
    status: Option<String>,
    execution_id: Option<String>,
    job_id: Option<String>,
    /// Started at or after this RFC 3339 time.
    from: Option<String>,
    /// Started before this RFC 3339 time.
    to: Option<String>,
    /// Traces in one answer, 1 to 1000.
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// With `Accept: text/plain`: columns of the drawing.
    width: Option<usize>,
    /// With `Accept: text/plain`: draw with ANSI colours.
    #[serde(default)]
    color: bool,
}

impl Filter {
    fn query(self) -> Result<TraceQuery, ApiError> {
        let limit = self.limit.unwrap_or(TraceQuery::DEFAULT_LIMIT);
        if !(1..=TraceQuery::MAX_LIMIT).contains(&limit) {
            return Err(ApiError::bad_request(format!("limit: {limit} is not within 1 to {}", TraceQuery::MAX_LIMIT)));
        }
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(TraceQuery {
            trace_id: None,
            service: given(self.service),
            or_unsettled: false,
            status: read("status", given(self.status), |text| {
                Outcome::parse(text).ok_or_else(|| {
                    let known: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.name()).collect();
                    format!("is none of {}", known.join(", "))
                })
            })?,
            execution_id: given(self.execution_id),
            job_id: given(self.job_id),
            from: read("from", given(self.from), |text| UnixNanos::parse_rfc3339(text).map_err(|e| e.to_string()))?,
            to: read("to", given(self.to), |text| UnixNanos::parse_rfc3339(text).map_err(|e| e.to_string()))?,
            cursor: read("cursor", given(self.cursor), |text| {
                Cursor::parse(text).ok_or_else(|| "is not the next of an earlier answer".to_owned())
            })?,
            silent_before: None,
            limit,
        })
    }
}

fn read<T>(name: &str, text: Option<String>, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, ApiError> {
    text.map(|text| parse(&text).map_err(|reason| ApiError::bad_request(format!("{name}: {text:?} {reason}"))))
        .transpose()
}

/// Traces, newest start first.
#[utoipa::path(
    get, path = "/v1/traces", tag = "read", params(Filter),
    responses(
        (status = 200, body = TraceList),
        (status = 400, body = Problem, description = "A parameter is wrong or unknown"),
        (status = 503, body = Problem, description = "The store is away; see Retry-After"),
    )
)]
pub async fn list(
    State(services): State<Services>,
    MayRead(caller): MayRead,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let drawing = Drawing { width: filter.width, color: filter.color };
    let list = services.queries.traces(&caller.tenant, &filter.query()?).await?;
    Ok(negotiate::answer(&headers, &list, |list| render::traces::draw(&list.traces, &drawing.style())))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// `native`, as spans are posted to `/v1/spans`, or `otlp`, as OTLP/JSON: what is read either way can be posted again.
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Default, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Native,
    Otlp,
}

/// Every span of a trace, with all that is known of it.
#[utoipa::path(
    get, path = "/v1/traces/{trace_id}", tag = "read",
    params(("trace_id" = String, Path, description = "32 hex digits, 16 hex digits or a UUID"), Shape),
    responses(
        (status = 200, body = TraceSpans, description = "With `format=otlp` an ExportTraceServiceRequest"),
        (status = 400, body = Problem, description = "Not a trace id"),
        (status = 404, body = Problem, description = "No such trace"),
    )
)]
pub async fn one(
    State(services): State<Services>,
    MayRead(caller): MayRead,
    TracePath(trace_id): TracePath,
    Query(shape): Query<Shape>,
) -> Result<Response, ApiError> {
    let unknown = || unknown_trace(trace_id);
    match shape.format {
        Format::Native => {
            let trace = services.queries.trace(&caller.tenant, trace_id).await?.ok_or_else(unknown)?;
            Ok(axum::Json(trace).into_response())
        }
        Format::Otlp => {
            let trace = services.queries.trace_as_otlp(&caller.tenant, trace_id).await?.ok_or_else(unknown)?;
            let response = ([(header::CONTENT_TYPE, "application/json")], trace.text).into_response();
            let cut = trace.truncated.then_some("the trace has, or had, more spans than these");
            Ok(negotiate::truncated(cut, response))
        }
    }
}
