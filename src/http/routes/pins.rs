//! `PUT` and `DELETE /v1/traces/{trace_id}/pin`, and `GET /v1/pins`: what stays, whatever its age.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::http::Services;
use crate::http::auth::{MayAdminister, MayRead};
use crate::http::error::{ApiError, Problem};
use crate::http::path::{TracePath, unknown_trace};
use crate::model::ids::TraceId;
use crate::model::time::UnixNanos;
use crate::query::PinList;

/// Whether a trace is pinned.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Pinned {
    #[schema(value_type = String)]
    pub trace_id: TraceId,
    pub pinned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub pinned_at: Option<UnixNanos>,
}

/// Keeps what there is of a trace until it is unpinned.
#[utoipa::path(
    put, path = "/v1/traces/{trace_id}/pin", tag = "operations",
    params(("trace_id" = String, Path, description = "32 hex digits, 16 hex digits or a UUID")),
    responses(
        (status = 200, body = Pinned),
        (status = 403, body = Problem, description = "The key lacks the admin scope"),
        (status = 404, body = Problem, description = "No such trace"),
    )
)]
pub async fn pin(
    State(services): State<Services>,
    MayAdminister(caller): MayAdminister,
    TracePath(trace_id): TracePath,
) -> Result<Json<Pinned>, ApiError> {
    let pin = services.queries.pin(&caller.tenant, trace_id).await?;
    let pin = pin.ok_or_else(|| unknown_trace(trace_id))?;
    Ok(Json(Pinned { trace_id, pinned: true, pinned_at: Some(pin.pinned_at) }))
}

/// Lets a trace go when its age says so.
#[utoipa::path(
    delete, path = "/v1/traces/{trace_id}/pin", tag = "operations",
    params(("trace_id" = String, Path, description = "32 hex digits, 16 hex digits or a UUID")),
    responses(
        (status = 200, body = Pinned),
        (status = 403, body = Problem, description = "The key lacks the admin scope"),
        (status = 404, body = Problem, description = "It was not pinned"),
    )
)]
pub async fn unpin(
    State(services): State<Services>,
    MayAdminister(caller): MayAdminister,
    TracePath(trace_id): TracePath,
) -> Result<Json<Pinned>, ApiError> {
    match services.queries.unpin(&caller.tenant, trace_id).await? {
        true => Ok(Json(Pinned { trace_id, pinned: false, pinned_at: None })),
        false => Err(ApiError::not_found(format!("trace {trace_id} is not pinned"))),
    }
}

/// What is pinned, the newest pin first.
#[utoipa::path(get, path = "/v1/pins", tag = "read", responses((status = 200, body = PinList)))]
pub async fn list(State(services): State<Services>, MayRead(caller): MayRead) -> Result<Json<PinList>, ApiError> {
    Ok(Json(services.queries.pins(&caller.tenant).await?))
}
