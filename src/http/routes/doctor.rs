//! `GET /v1/admin/doctor`: the findings of `tracefall doctor`, asked of the service.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use crate::checkup::Report;
use crate::http::Services;
use crate::http::auth::MayAdminister;
use crate::http::error::{ApiError, Problem};
use crate::http::negotiate::{self, Query};
use crate::http::routes::waterfall::Drawing;
use crate::query::Thoroughly;
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

/// How the store is, and what heals what is not well. Changes nothing; wakes a database that sleeps.
#[utoipa::path(
    get, path = "/v1/admin/doctor", tag = "operations", params(Parameters),
    responses(
        (status = 200, body = Report, description = "Whatever the findings say"),
        (status = 403, body = Problem, description = "The key lacks the admin scope"),
    )
)]
pub async fn report(
    State(services): State<Services>,
    _: MayAdminister,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let report = services.doctor.examine(Thoroughly::default(), &|_: &str| {}).await;
    let drawing = Drawing { width: parameters.width, color: parameters.color };
    Ok(negotiate::answer(&headers, &report, |report| render::checkup::draw(report, &drawing.style())))
}
