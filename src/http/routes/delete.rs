//! `DELETE /v1/traces/{trace_id}`, `/v1/users/{user_id}/traces` and `/v1/workspaces/{workspace_id}/traces`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::access::Caller;
use crate::http::Services;
use crate::http::auth::MayAdminister;
use crate::http::error::{ApiError, Problem};
use crate::http::negotiate::Query;
use crate::http::path::TracePath;
use crate::pipeline::erasure::{Deleted, EraseError, Owner};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct OfTrace {
    /// Change nothing: say what would be deleted.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct OfOwner {
    /// Change nothing: say what would be deleted.
    #[serde(default)]
    dry_run: bool,
    /// `next` of the answer before.
    from: Option<String>,
}

/// Deletes a trace: spans, summary, pin, dead letters, and what was accepted of it and is not yet stored.
#[utoipa::path(
    delete, path = "/v1/traces/{trace_id}", tag = "operations", params(
        ("trace_id" = String, Path, description = "32 hex digits, 16 hex digits or a UUID"), OfTrace),
    responses(
        (status = 200, body = Deleted, description = "All of it is gone"),
        (status = 202, body = Deleted, description = "Some of it is gone: the same request goes on"),
        (status = 403, body = Problem, description = "The key lacks the admin scope"),
        (status = 404, body = Problem, description = "Nothing of it was stored; what waits for the store is dropped all the same"),
        (status = 503, body = Problem, description = "The store is away or busy; see Retry-After"),
    )
)]
pub async fn trace(
    State(services): State<Services>,
    MayAdminister(caller): MayAdminister,
    TracePath(trace_id): TracePath,
    Query(OfTrace { dry_run }): Query<OfTrace>,
) -> Result<(StatusCode, Json<Deleted>), ApiError> {
    let asked = Asked { caller: &caller, what: "trace", id: trace_id.to_string() };
    let pipeline = &services.pipeline;
    let deleted = pipeline.erase_trace(&caller.tenant, trace_id, dry_run, &|traces| asked.barred(traces)).await?;
    asked.deleted(&deleted);
    if deleted.is_nothing() {
        return Err(ApiError::not_found(format!("nothing of trace {trace_id} is stored")));
    }
    Ok(answer(deleted))
}

/// Deletes every trace of which anything says that it is this user's.
#[utoipa::path(
    delete, path = "/v1/users/{user_id}/traces", tag = "operations", params(("user_id" = String, Path), OfOwner),
    responses(
        (status = 200, body = Deleted, description = "All are gone; none is an answer too"),
        (status = 202, body = Deleted, description = "Some are gone: the same request, with `next` as `from`, goes on"),
        (status = 403, body = Problem, description = "The key lacks the admin scope"),
        (status = 503, body = Problem, description = "The store is away, busy, or behind; see Retry-After"),
    )
)]
pub async fn of_user(
    State(services): State<Services>,
    MayAdminister(caller): MayAdminister,
    Path(id): Path<String>,
    Query(parameters): Query<OfOwner>,
) -> Result<(StatusCode, Json<Deleted>), ApiError> {
    of(&services, &caller, &Owner::User(id), parameters).await
}

/// Deletes every trace of which anything says that it is of this workspace.
#[utoipa::path(
    delete, path = "/v1/workspaces/{workspace_id}/traces", tag = "operations",
    params(("workspace_id" = String, Path), OfOwner),
    responses(
        (status = 200, body = Deleted, description = "All are gone; none is an answer too"),
        (status = 202, body = Deleted, description = "Some are gone: the same request, with `next` as `from`, goes on"),
        (status = 403, body = Problem, description = "The key lacks the admin scope"),
        (status = 503, body = Problem, description = "The store is away, busy, or behind; see Retry-After"),
    )
)]
pub async fn of_workspace(
    State(services): State<Services>,
    MayAdminister(caller): MayAdminister,
    Path(id): Path<String>,
    Query(parameters): Query<OfOwner>,
) -> Result<(StatusCode, Json<Deleted>), ApiError> {
    of(&services, &caller, &Owner::Workspace(id), parameters).await
}

async fn of(
    services: &Services,
    caller: &Caller,
    owner: &Owner,
    OfOwner { dry_run, from }: OfOwner,
) -> Result<(StatusCode, Json<Deleted>), ApiError> {
    let (what, id) = match owner {
        Owner::User(id) => ("user", id),
        Owner::Workspace(id) => ("workspace", id),
    };
    let asked = Asked { caller, what, id: shortened(id) };
    let barred = |traces| asked.barred(traces);
    let deleted = services.pipeline.erase_of(&caller.tenant, owner, from.as_deref(), dry_run, &barred).await?;
    asked.deleted(&deleted);
    Ok(answer(deleted))
}

/// Who deletes what, for the log.
struct Asked<'a> {
    caller: &'a Caller,
    what: &'static str,
    /// A trace's id, or what [`shortened`] says of somebody's: the log outlives them.
    id: String,
}

impl Asked<'_> {
    /// Before anything goes: whatever becomes of the request, these traces cannot come back.
    fn barred(&self, traces: usize) {
        let Self { caller, what, id } = self;
        tracing::info!(caller = &*caller.name, tenant = caller.tenant.as_str(), what, id, traces, "deletes on request");
    }

    fn deleted(&self, deleted: &Deleted) {
        let Self { caller, what, id } = self;
        let Deleted { traces, spans, pins, dead_letters, dry_run, complete, .. } = deleted;
        if !dry_run {
            tracing::info!(
                caller = &*caller.name,
                tenant = caller.tenant.as_str(),
                what,
                id,
                traces,
                spans,
                pins,
                dead_letters,
                complete,
                "deleted on request"
            );
        }
    }
}

/// The first digits of the SHA-256: who knows an id finds it again.
fn shortened(id: &str) -> String {
    Sha256::digest(id.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn answer(deleted: Deleted) -> (StatusCode, Json<Deleted>) {
    let status = if deleted.complete { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, Json(deleted))
}

impl From<EraseError> for ApiError {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::Store(error) => error.into(),
            behind @ EraseError::Behind { .. } => Self::unavailable(behind.to_string()),
        }
    }
}
