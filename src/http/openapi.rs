//! The OpenAPI document, generated from the handlers.

use axum::Json;
use utoipa::OpenApi;

use crate::http::auth::MayRead;
use crate::http::routes::{
    delete, doctor, executions, health, ingest, jaeger, levers, otlp, pins, traces, waterfall, zipkin,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Tracefall", description = "Spans in, answers out. docs/api.md tells the same for people."),
    paths(
        ingest::post_spans,
        otlp::export,
        zipkin::report,
        traces::list,
        traces::one,
        waterfall::of_trace,
        waterfall::of_execution,
        executions::one,
        pins::pin,
        pins::unpin,
        pins::list,
        levers::show,
        levers::change,
        doctor::report,
        delete::trace,
        delete::of_user,
        delete::of_workspace,
        jaeger::services,
        jaeger::operations_of,
        jaeger::operations,
        jaeger::search,
        jaeger::trace,
        jaeger::dependencies,
        jaeger::v3_services,
        jaeger::v3_operations,
        jaeger::v3_search,
        jaeger::v3_trace,
        jaeger::v3_summaries,
        health::healthz,
        health::readyz,
        health::metrics,
    ),
    components(schemas(ingest::Wait, traces::Format))
)]
struct Api;

pub async fn document(_: MayRead) -> Json<utoipa::openapi::OpenApi> {
    Json(Api::openapi())
}
