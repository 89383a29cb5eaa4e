//! `GET /v1/executions/{execution_id}`: a run with all of its attempts.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use crate::http::Services;
use crate::http::auth::MayRead;
use crate::http::error::{ApiError, Problem};
use crate::http::negotiate::{self, Query};
use crate::http::routes::waterfall::Drawing;
use crate::query::Execution;
use crate::render;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// With `Accept: text/plain`: columns of the drawing, 40 to 400.
    width: Option<usize>,
    /// With `Accept: text/plain`: draw with ANSI colours.
    #[serde(default)]
    color: bool,
}

/// An execution and its traces, newest first.
#[utoipa::path(
    get, path = "/v1/executions/{execution_id}", tag = "read",
    params(("execution_id" = String, Path, description = "As the spans carry it"), Parameters),
    responses((status = 200, body = Execution), (status = 404, body = Problem, description = "No such execution"))
)]
pub async fn one(
    State(services): State<Services>,
    MayRead(caller): MayRead,
    Path(execution_id): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let execution = services.queries.execution(&caller.tenant, &execution_id).await?;
    let execution =
        execution.ok_or_else(|| ApiError::not_found(format!("no span names the execution {execution_id:?}")))?;
    let drawing = Drawing { width: parameters.width, color: parameters.color };
    Ok(negotiate::answer(&headers, &execution, |execution| render::traces::draw(&execution.traces, &drawing.style())))
}
