//! `/api/…` and `/api/v3/…`: what Jaeger's UI of any generation and Grafana's Jaeger data source read.
//!
//! Handlers refuse as all others do; [`crate::http::refusal`] says it in Jaeger's words. An answer that ended at a bound
//! says so in `errors`, or where its form has no room for that in the header `x-tracefall-truncated`; an empty one that
//! ended at a bound is no answer but a 503.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::http::Services;
use crate::http::auth::MayRead;
use crate::http::error::ApiError;
use crate::http::negotiate::{Query, truncated};
use crate::http::path::Segment;
use crate::http::refusal::Jaeger;
use crate::model::ids::TraceId;
use crate::model::search::SpanQuery;
use crate::query::{Asked, Bounded, Dependency, Operation, Summary};
use crate::wire::jaeger::question::{self, Legacy};
use crate::wire::jaeger::trace_id;

/// Parameters, decoded, in their order.
type Parameters = Query<Vec<(String, String)>>;

pub fn router() -> Router<Services> {
    Router::new()
        .route("/api/services", get(services))
        .route("/api/services/{*rest}", get(operations_of))
        .route("/api/operations", get(operations))
        .route("/api/traces", get(search))
        .route("/api/traces/{trace_id}", get(trace))
        .route("/api/dependencies", get(dependencies))
        .route("/api/transform", post(not_served))
        .route("/api/archive/{trace_id}", post(not_served))
        .route("/api/metrics/{metric}", get(not_served))
        .route("/api/v3/services", get(v3_services))
        .route("/api/v3/operations", get(v3_operations))
        .route("/api/v3/traces", get(v3_search))
        .route("/api/v3/traces/{trace_id}", get(v3_trace))
        .route("/api/v3/trace-summaries", get(v3_summaries))
}

/// The body of every legacy answer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Envelope<T> {
    pub data: T,
    pub total: usize,
    pub limit: usize,
    pub offset: usize,
    /// What is missing from the data, and why; `null` if nothing is.
    pub errors: Option<Vec<Jaeger>>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ServiceNames {
    pub services: Vec<String>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Operations {
    pub operations: Vec<Operation>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Summaries {
    pub summaries: Vec<Summary>,
}

/// The names of the services.
#[utoipa::path(get, path = "/api/services", tag = "jaeger", responses((status = 200, body = Envelope<Vec<String>>)))]
pub async fn services(State(services): State<Services>, MayRead(caller): MayRead) -> Result<Response, ApiError> {
    Ok(envelope(Bounded { answer: services.queries.services(&caller.tenant).await?, cut: None }))
}

/// The names of a service's operations.
#[utoipa::path(
    get, path = "/api/services/{service}/operations", tag = "jaeger",
    params(("service" = String, Path, description = "Its name, a slash in it escaped or not")),
    responses((status = 200, body = Envelope<Vec<String>>))
)]
pub async fn operations_of(
    State(services): State<Services>,
    MayRead(caller): MayRead,
    Segment(rest): Segment,
) -> Result<Response, ApiError> {
    let service = rest.strip_suffix("/operations").filter(|service| !service.is_empty());
    let service = service.ok_or_else(|| ApiError::not_found("there is only /api/services/{service}/operations"))?;
    let Bounded { answer, cut } = services.queries.operations(&caller.tenant, Some(service)).await?;
    let mut names: Vec<String> = answer.into_iter().map(|operation| operation.name).collect();
    names.dedup();
    Ok(envelope(Bounded { answer: names, cut }))
}

/// A service's operations with their kinds.
#[utoipa::path(
    get, path = "/api/operations", tag = "jaeger",
    params(("service" = String, Query), ("spanKind" = Option<String>, Query)),
    responses((status = 200, body = Envelope<Vec<Operation>>), (status = 400, description = "No service is named"))
)]
pub async fn operations(
    State(services): State<Services>,
    MayRead(caller): MayRead,
    Query(parameters): Parameters,
) -> Result<Response, ApiError> {
    let service = question::one(&parameters, "service");
    let service = service.ok_or_else(|| ApiError::bad_request("parameter 'service' is required"))?;
    let found = services.queries.operations(&caller.tenant, Some(service)).await?;
    Ok(envelope(of_kind(found, question::one(&parameters, "spanKind"))))
}

/// Searches traces, or reads those that `traceID` names, whole.
#[utoipa::path(
    get, path = "/api/traces", tag = "jaeger",
    params(
        ("service" = Option<String>, Query, description = "Required unless traceID is given"),
        ("operation" = Option<String>, Query), ("tag" = Option<Vec<String>>, Query, description = "key:value"),
        ("tags" = Option<String>, Query, description = "A JSON object of strings"),
        ("minDuration" = Option<String>, Query, description = "As 1.5s or 100us"), ("maxDuration" = Option<String>, Query),
        ("start" = Option<i64>, Query, description = "Microseconds since 1970; two days ago"),
        ("end" = Option<i64>, Query, description = "Microseconds since 1970; now"),
        ("limit" = Option<u32>, Query, description = "100; at most 1500"), ("traceID" = Option<Vec<String>>, Query),
    ),
    responses(
        (status = 200, body = Envelope<Vec<Object>>, description = "`errors` says what is missing, if anything is"),
        (status = 400, description = "A parameter is wrong"),
        (status = 503, description = "Nothing was found, and not everything was looked at"),
    )
)]
pub async fn search(
    State(services): State<Services>,
    MayRead(caller): MayRead,
    Query(parameters): Parameters,
) -> Result<Response, ApiError> {
    match question::legacy(&parameters, services.clock.now()).map_err(ApiError::bad_request)? {
        Legacy::Search(query) => {
            let found = services.queries.legacy_search(&caller.tenant, &query).await?;
            found_something(&found.cut, found.answer.is_empty())?;
            Ok(envelope(Bounded { answer: raw(found.answer), cut: found.cut }))
        }
        Legacy::Traces(ids) if ids.len() > question::MAX_LIMIT => {
            Err(ApiError::bad_request(format!("traceID: at most {} at a time", question::MAX_LIMIT)))
        }
        Legacy::Traces(ids) => {
            let (mut found, mut missing) = (Vec::new(), Vec::new());
            for (id, asked) in ids.iter().zip(services.queries.legacy_traces(&caller.tenant, &ids).await?) {
                match asked {
                    Asked::Found(trace) => found.push(trace),
                    asked => missing.push(Jaeger { trace_id: Some(trace_id(*id)), ..not_found(&asked) }),
                }
            }
            let errors = (!missing.is_empty()).then_some(missing);
            let data = raw(found);
            Ok(axum::Json(Envelope { total: data.len(), data, limit: 0, offset: 0, errors }).into_response())
        }
    }
}

/// One trace, whole.
#[utoipa::path(
    get, path = "/api/traces/{trace_id}", tag = "jaeger",
    params(("trace_id" = String, Path, description = "Hex digits, a UUID or base64")),
    responses(
        (status = 200, body = Envelope<Vec<Object>>),
        (status = 400, description = "Not a trace id"),
        (status = 404, description = "No such trace"),
    )
)]
pub async fn trace(
    State(services): State<Services>,
    MayRead(caller): MayRead,
    Segment(text): Segment,
) -> Result<Response, ApiError> {
    let id = read_id(&text)?;
    match services.queries.legacy_traces(&caller.tenant, &[id]).await?.pop() {
        Some(Asked::Found(trace)) => Ok(envelope(Bounded { answer: raw(vec![trace]), cut: None })),
        asked => Err(ApiError::not_found(not_found(&asked.unwrap_or(Asked::Unknown)).msg)),
    }
}

/// Which service calls which, and how often.
#[utoipa::path(
    get, path = "/api/dependencies", tag = "jaeger",
    params(
        ("endTs" = Option<i64>, Query, description = "Milliseconds since 1970; now"),
        ("lookback" = Option<i64>, Query, description = "Milliseconds; a day"),
    ),
    responses(
        (status = 200, body = Envelope<Vec<Dependency>>, description = "x-tracefall-truncated: not of all traces"),
        (status = 400, description = "A parameter is wrong"),
        (status = 503, description = "No call was found, and not everything was looked at"),
    )
)]
pub async fn dependencies(
    State(services): State<Services>,
    MayRead(caller): MayRead,
    Query(parameters): Parameters,
) -> Result<Response, ApiError> {
    let (from, to) = question::dependencies(&parameters, services.clock.now()).map_err(ApiError::bad_request)?;
    let Bounded { answer, cut } = services.queries.dependencies(&caller.tenant, from, to).await?;
    found_something(&cut, answer.is_empty())?;
    // Grafana shows nothing of an answer with errors, and a part of the graph is worth seeing.
    Ok(truncated(cut.as_deref(), envelope(Bounded { answer, cut: None })))
}

/// The names of the services.
#[utoipa::path(get, path = "/api/v3/services", tag = "jaeger", responses((status = 200, body = ServiceNames)))]
pub async fn v3_services(
    State(services): State<Services>,
    MayRead(caller): MayRead,
) -> Result<axum::Json<ServiceNames>, ApiError> {
    Ok(axum::Json(ServiceNames { services: services.queries.services(&caller.tenant).await? }))
}

/// The operations of a service, or of all.
#[utoipa::path(
    get, path = "/api/v3/operations", tag = "jaeger",
    params(("service" = Option<String>, Query), ("spanKind" = Option<String>, Query, description = "Also span_kind")),
    responses((status = 200, body = Operations))
)]
pub async fn v3_operations(
    State(services): State<Services>,
    MayRead(caller): MayRead,
    Query(parameters): Parameters,
) -> Result<Response, ApiError> {
    let one = |name| question::one(&parameters, name);
    let found = services.queries.operations(&caller.tenant, one("service")).await?;
    let Bounded { answer, cut } = of_kind(found, one("spanKind").or(one("span_kind")));
    Ok(truncated(cut.as_deref(), axum::Json(Operations { operations: answer }).into_response()))
}

/// Searches traces, in OTLP's JSON. Each parameter also in snake_case.
#[utoipa::path(
    get, path = "/api/v3/traces", tag = "jaeger",
    params(
        ("query.serviceName" = Option<String>, Query), ("query.operationName" = Option<String>, Query),
        ("query.attributes" = Option<String>, Query, description = "A JSON object of strings"),
        ("query.startTimeMin" = String, Query, description = "RFC 3339"),
        ("query.startTimeMax" = String, Query, description = "RFC 3339; before it"),
        ("query.durationMin" = Option<String>, Query, description = "As 1.5s or 100us"),
        ("query.durationMax" = Option<String>, Query),
        ("query.searchDepth" = Option<u32>, Query, description = "100; at most 1500. Also query.num_traces"),
    ),
    responses(
        (status = 200, body = Object, description = "x-tracefall-truncated: not everything was looked at"),
        (status = 400, description = "A parameter is wrong"),
        (status = 404, description = "Nothing was found"),
        (status = 503, description = "Nothing was found, and not everything was looked at"),
    )
)]
pub async fn v3_search(
    State(services): State<Services>,
    MayRead(caller): MayRead,
    Query(parameters): Parameters,
) -> Result<Response, ApiError> {
    let found = services.queries.v3_search(&caller.tenant, &v3_query(&parameters)?).await?;
    found_something(&found.cut, found.answer.is_none())?;
    let traces = found.answer.ok_or_else(|| ApiError::not_found("No traces found"))?;
    Ok(truncated(found.cut.as_deref(), json(traces)))
}

/// One trace, in OTLP's JSON.
#[utoipa::path(
    get, path = "/api/v3/traces/{trace_id}", tag = "jaeger",
    params(("trace_id" = String, Path, description = "Hex digits, a UUID or base64")),
    responses(
        (status = 200, body = Object),
        (status = 400, description = "Not a trace id"),
        (status = 404, description = "No such trace"),
    )
)]
pub async fn v3_trace(
    State(services): State<Services>,
    MayRead(caller): MayRead,
    Segment(text): Segment,
) -> Result<Response, ApiError> {
    let Bounded { answer, cut } = services.queries.v3_trace(&caller.tenant, read_id(&text)?).await?;
    match answer {
        Asked::Found(trace) => Ok(truncated(cut.as_deref(), json(trace))),
        Asked::Expired => Err(ApiError::not_found(not_found(&Asked::Expired).msg)),
        Asked::Unknown | Asked::LeftOut => Err(ApiError::not_found("No traces found")),
    }
}

/// Searches traces and sums them up. Takes what `/api/v3/traces` takes.
#[utoipa::path(
    get, path = "/api/v3/trace-summaries", tag = "jaeger",
    params(("query.startTimeMin" = String, Query), ("query.startTimeMax" = String, Query)),
    responses(
        (status = 200, body = Summaries, description = "x-tracefall-truncated: not everything was looked at"),
        (status = 400, description = "A parameter is wrong"),
        (status = 503, description = "Nothing was found, and not everything was looked at"),
    )
)]
pub async fn v3_summaries(
    State(services): State<Services>,
    MayRead(caller): MayRead,
    Query(parameters): Parameters,
) -> Result<Response, ApiError> {
    let Bounded { answer, cut } = services.queries.summaries(&caller.tenant, &v3_query(&parameters)?).await?;
    found_something(&cut, answer.is_empty())?;
    Ok(truncated(cut.as_deref(), axum::Json(Summaries { summaries: answer }).into_response()))
}

/// What Jaeger's UI shows as not being there, and goes on.
async fn not_served(_: MayRead, uri: axum::http::Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_IMPLEMENTED, format!("{} is not served here", uri.path()))
}

fn v3_query(parameters: &question::Parameters) -> Result<SpanQuery, ApiError> {
    question::v3(parameters).map_err(|reason| ApiError::bad_request(format!("malformed parameter {reason}")))
}

fn read_id(text: &str) -> Result<TraceId, ApiError> {
    question::trace_id(text).map_err(|error| ApiError::bad_request(format!("the trace id {error}")))
}

fn not_found(asked: &Asked) -> Jaeger {
    let msg = match asked {
        Asked::Found(_) | Asked::Unknown => "trace not found",
        Asked::Expired => "trace not found: its spans were removed for their age",
        Asked::LeftOut => "there is no room for this trace in the answer; ask for it alone",
    };
    Jaeger { code: StatusCode::NOT_FOUND.as_u16(), msg: msg.to_owned(), trace_id: None }
}

fn of_kind(found: Bounded<Vec<Operation>>, kind: Option<&str>) -> Bounded<Vec<Operation>> {
    let Bounded { mut answer, cut } = found;
    answer.retain(|operation| kind.is_none_or(|kind| operation.kind.eq_ignore_ascii_case(kind)));
    Bounded { answer, cut }
}

/// Refuses to say "nothing" where not everything was looked at.
fn found_something(cut: &Option<String>, is_empty: bool) -> Result<(), ApiError> {
    match cut {
        Some(cut) if is_empty => {
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, format!("nothing was found so far: {cut}")))
        }
        _ => Ok(()),
    }
}

/// Traces as they were written.
fn raw(traces: Vec<String>) -> Vec<Box<RawValue>> {
    // What was written is JSON, so reading it as such does not fail.
    traces.into_iter().filter_map(|trace| RawValue::from_string(trace).ok()).collect()
}

fn envelope<T: Serialize>(Bounded { answer, cut }: Bounded<Vec<T>>) -> Response {
    const PARTIAL: u16 = StatusCode::PARTIAL_CONTENT.as_u16();
    let errors = cut.clone().map(|msg| vec![Jaeger { code: PARTIAL, msg, trace_id: None }]);
    let body = Envelope { total: answer.len(), data: answer, limit: 0, offset: 0, errors };
    truncated(cut.as_deref(), axum::Json(body).into_response())
}

fn json(body: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}
