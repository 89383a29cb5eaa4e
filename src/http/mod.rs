//! HTTP with axum: extract, call one function of a room below, render. The router and the whole middleware stack are in
//! [`router`], to be read from top to bottom.

mod auth;
mod body;
pub mod error;
mod ingest;
mod negotiate;
mod observe;
mod openapi;
mod path;
mod refusal;
mod routes;
pub mod serve;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;

use crate::access::Keys;
use crate::clock::Clock;
use crate::pipeline::Pipeline;
use crate::query::{Doctor, Queries};

pub use body::Intake;
use error::ApiError;

/// What the handlers work with. Cloning shares it.
#[derive(Clone)]
pub struct Services {
    pub pipeline: Pipeline,
    pub queries: Queries,
    pub doctor: Doctor,
    pub keys: Arc<Keys>,
    pub intake: Intake,
    pub clock: Clock,
    /// How long a body may take to arrive, and an answer after that.
    pub request_timeout: Duration,
    /// The longest that `?wait=stored` waits.
    pub max_wait: Duration,
    /// Whether the listener is on loopback, where requests must name it so (DNS rebinding).
    pub loopback: bool,
    /// Origins that may post spans from a browser.
    pub cors_origins: Vec<HeaderValue>,
    /// Renders the metrics for a scrape.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// The whole service as one tower service.
pub fn router(services: Services) -> Router {
    // The answer to a wrong method is set before the layer, which must see the preflights among them.
    let ingest = Router::new()
        .route("/v1/spans", post(routes::ingest::post_spans))
        .route("/api/v2/spans", post(routes::zipkin::report))
        .route(routes::grpc::EXPORT, post(routes::grpc::export))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(cors(&services.cors_origins));

    // The one path that is for reading and for posting.
    let exports = post(routes::otlp::export).options(method_not_allowed).layer(cors(&services.cors_origins));
    let reads = Router::new()
        .route("/v1/traces", get(routes::traces::list).merge(exports))
        .route("/v1/traces/{trace_id}", get(routes::traces::one).delete(routes::delete::trace))
        .route("/v1/traces/{trace_id}/waterfall", get(routes::waterfall::of_trace))
        .route("/v1/executions/{execution_id}", get(routes::executions::one))
        .route("/v1/executions/{execution_id}/waterfall", get(routes::waterfall::of_execution))
        .route("/v1/traces/{trace_id}/pin", put(routes::pins::pin).delete(routes::pins::unpin))
        .route("/v1/pins", get(routes::pins::list))
        .route("/v1/admin/ingest", get(routes::levers::show).put(routes::levers::change))
        .route("/v1/admin/doctor", get(routes::doctor::report))
        .route("/v1/users/{user_id}/traces", delete(routes::delete::of_user))
        .route("/v1/workspaces/{workspace_id}/traces", delete(routes::delete::of_workspace))
        .route("/metrics", get(routes::health::metrics))
        .route("/openapi.json", get(openapi::document))
        .merge(routes::jaeger::router())
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CompressionLayer::new());

    let open = Router::new()
        .route("/", get(routes::health::index))
        .route("/healthz", get(routes::health::healthz))
        .route("/readyz", get(routes::health::readyz))
        .method_not_allowed_fallback(method_not_allowed);

    Router::new()
        .merge(ingest)
        .merge(reads)
        .merge(open)
        .fallback(not_found)
        // The last layer is the first to see a request.
        .layer(CatchPanicLayer::custom(panicked))
        .layer(axum::middleware::from_fn_with_state(services.clone(), auth::host))
        .layer(axum::middleware::from_fn_with_state(services.request_timeout * 2, observe::deadline))
        .layer(axum::middleware::from_fn(refusal::translate))
        .layer(axum::middleware::from_fn(observe::request))
        .with_state(services)
}

/// What a page may send along with its spans.
const CORS_HEADERS: [&str; 6] =
    ["content-type", "content-encoding", "authorization", "traceparent", "x-trace-id", "x-request-id"];

fn cors(origins: &[HeaderValue]) -> CorsLayer {
    if origins.is_empty() {
        return CorsLayer::new();
    }
    CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::POST])
        .allow_headers(CORS_HEADERS.map(HeaderName::from_static))
        .max_age(Duration::from_secs(3_600))
}

async fn not_found(uri: axum::http::Uri) -> ApiError {
    ApiError::not_found(format!("there is nothing at {}; /openapi.json lists what there is", uri.path()))
}

async fn method_not_allowed(method: Method, uri: axum::http::Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not for {}; the Allow header says what is", uri.path()),
    )
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("without a message"), "a handler panicked");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "this is a bug; the log has more under this answer's X-Request-ID")
        .into_response()
}
