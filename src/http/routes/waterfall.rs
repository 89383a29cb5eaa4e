//! The waterfall of a trace and of an execution, as JSON or drawn for a terminal.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use crate::analysis::waterfall::Waterfall;
use crate::http::Services;
use crate::http::auth::MayRead;
use crate::http::error::{ApiError, Problem};
use crate::http::negotiate::{self, Query};
use crate::http::path::{TracePath, trace_id, unknown_trace};
use crate::query::WaterfallOptions;
use crate::render;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Rows in the answer, 1 to 10000; errors and the critical path are kept first.
    max_rows: Option<usize>,
    /// Move spans of clocks that are off into their callers.
    #[serde(default)]
    correct_skew: bool,
    /// Which trace of the execution, the newest by default.
    trace: Option<String>,
    /// With `Accept: text/plain`: columns of the drawing, 40 to 400.
    width: Option<usize>,
    /// With `Accept: text/plain`: draw with ANSI colours.
    #[serde(default)]
    color: bool,
}

/// How a drawing is asked for.
pub struct Drawing {
    pub width: Option<usize>,
    pub color: bool,
}

impl Drawing {
    pub fn style(&self) -> render::Style {
        render::Style { width: self.width.unwrap_or(100).clamp(40, 400), color: self.color }
    }
}

impl Parameters {
    fn options(&self) -> Result<WaterfallOptions, ApiError> {
        let most = WaterfallOptions::default().max_rows;
        let max_rows = self.max_rows.unwrap_or(most);
        if !(1..=most).contains(&max_rows) {
            return Err(ApiError::bad_request(format!("max_rows: {max_rows} is not within 1 to {most}")));
        }
        Ok(WaterfallOptions { max_rows, correct_skew: self.correct_skew, ..WaterfallOptions::default() })
    }

    fn answer(&self, headers: &HeaderMap, waterfall: &Waterfall) -> Response {
        let drawing = Drawing { width: self.width, color: self.color };
        negotiate::answer(headers, waterfall, |waterfall| render::waterfall::draw(waterfall, &drawing.style()))
    }
}

/// The spans of a trace as a tree on a time line.
#[utoipa::path(
    get, path = "/v1/traces/{trace_id}/waterfall", tag = "read",
    params(("trace_id" = String, Path, description = "32 hex digits, 16 hex digits or a UUID"), Parameters),
    responses(
        (status = 200, body = Waterfall, description = "`Accept: text/plain` draws it"),
        (status = 400, body = Problem, description = "Not a trace id, or a wrong parameter"),
        (status = 404, body = Problem, description = "No such trace"),
    )
)]
pub async fn of_trace(
    State(services): State<Services>,
    MayRead(caller): MayRead,
    TracePath(trace_id): TracePath,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if parameters.trace.is_some() {
        return Err(ApiError::bad_request(
            "trace: chooses among the traces of an execution; here the path has named one",
        ));
    }
    let waterfall = services.queries.waterfall(&caller.tenant, trace_id, &parameters.options()?).await?;
    let waterfall = waterfall.ok_or_else(|| unknown_trace(trace_id))?;
    Ok(parameters.answer(&headers, &waterfall))
}

/// The waterfall of the execution's newest trace, or of the one that `trace` chooses.
#[utoipa::path(
    get, path = "/v1/executions/{execution_id}/waterfall", tag = "read",
    params(("execution_id" = String, Path, description = "As the spans carry it"), Parameters),
    responses(
        (status = 200, body = Waterfall, description = "`Accept: text/plain` draws it"),
        (status = 404, body = Problem, description = "No such execution, or not this trace of it"),
    )
)]
pub async fn of_execution(
    State(services): State<Services>,
    MayRead(caller): MayRead,
    Path(execution_id): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let chosen = parameters.trace.as_deref().map(trace_id).transpose()?;
    let waterfall = services
        .queries
        .execution_waterfall(&caller.tenant, &execution_id, chosen, &parameters.options()?)
        .await?
        .ok_or_else(|| match chosen {
            Some(chosen) => ApiError::not_found(format!("execution {execution_id:?} has no trace {chosen}")),
            None => ApiError::not_found(format!("no span names the execution {execution_id:?}")),
        })?;
    Ok(parameters.answer(&headers, &waterfall))
}
